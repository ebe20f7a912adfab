from klas.data.texts import Windows
from klas.networks.decoders.tokenizer import Tokenizer
from klas.tales.stories import tale
from klas.tales.zoo import END, UNKNOWN, VOCABULARY, ZOO, blank_decoder, make_tokenizer


def test_every_tale_is_made_of_known_words():
    tokenizer = Tokenizer(make_tokenizer())
    assert tokenizer.end == VOCABULARY[END]
    assert tokenizer.words == len(VOCABULARY)
    for number in range(300):
        told = tale("val", number)
        for text in (told.prompt, told.rest):
            tokens = tokenizer.tokens(text)
            assert VOCABULARY[UNKNOWN] not in tokens
            assert (
                tokenizer.text(tokens).split() == text.replace(".", " .").replace(",", " ,").split()
            )


def test_windows_hold_whole_tales_with_their_ends():
    tokenizer = Tokenizer(make_tokenizer())
    windows = Windows("klas/tales:val", tokenizer, 64)
    assert len(windows) > 2_000
    assert len(windows.prompts) == 4_000
    assert VOCABULARY[END] in windows.window(0)


def test_the_zoo_grows_in_cost_and_no_two_are_alike():
    sizes = [sum(p.numel() for p in blank_decoder(name).parameters()) for name in ZOO]
    assert sizes == sorted(sizes)
    assert len({blank_decoder(name).config.num_hidden_layers for name in ZOO}) == len(ZOO)
