import numpy as np
import torch

import klas.tales  # noqa: F401 - registers the decoders and the texts
from klas.data.texts import Windows, text_batches
from klas.networks.decoders.load import load_decoder, load_tokenizer
from klas.networks.decoders.tokenizer import Tokenizer
from klas.study import AnchorSpec, built_in_studies, load_study
from klas.tales.stories import tale
from klas.tales.train import LENGTH
from klas.tales.zoo import (
    END,
    UNKNOWN,
    VOCABULARY,
    WEIGHTS,
    ZOO,
    blank_decoder,
    make_tokenizer,
)
from klas.tasks.language import Language
from klas.tasks.metric import TOKEN_ACCURACY, perplexity


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


def shipped(name):
    return load_decoder(AnchorSpec(name=name, model=name), 64)


def test_all_weights_ship_and_are_small():
    files = [file for name in ZOO for file in (WEIGHTS / name.rpartition("/")[2]).iterdir()]
    assert sum(file.stat().st_size for file in files) < 3e6
    for name in ZOO:
        wanted = {key: value.shape for key, value in blank_decoder(name).state_dict().items()}
        network = shipped(name).network
        assert {key: value.shape for key, value in network.state_dict().items()} == wanted
        assert load_tokenizer(AnchorSpec(name=name, model=name)).digest == (
            Tokenizer(make_tokenizer()).digest
        )


def test_a_costlier_decoder_foretells_more():
    """Not only the next token: the ends of tales follow from their beginnings."""
    tokenizer = Tokenizer(make_tokenizer())
    windows = Windows("klas/tales:val", tokenizer, 64)
    ((ids, following),) = text_batches(
        windows, np.arange(150), views=1, device=torch.device("cpu"), batch=150
    )
    task, figures = Language(), []
    for name in ZOO:
        anchor = shipped(name)
        with torch.inference_mode():
            outcomes = task.outcomes(anchor(ids), following).numpy()
        figures.append((TOKEN_ACCURACY.value(outcomes), -float(perplexity(outcomes.sum(0)))))
    assert figures == sorted(figures)
    assert len(set(figures)) == len(ZOO)


def test_the_study_is_built_in_and_names_what_ships():
    study = built_in_studies()["tales"]
    assert load_study("tales") == study
    assert tuple(anchor.model for anchor in study.anchors) == ZOO
    assert study.data.length == LENGTH
