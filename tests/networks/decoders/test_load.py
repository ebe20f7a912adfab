import json

import pytest
import torch
from tokenizers import Tokenizer as Fast
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from klas.errors import AnchorError
from klas.networks.decoders.load import load_decoder, load_tokenizer, refuse_different_tokenizers
from klas.networks.decoders.tokenizer import Tokenizer
from klas.study import AnchorSpec
from tests.networks.decoders.decoders import CONFIGS, WORDS, configured, decoder, texts


def words(**changed):
    vocabulary = {f"w{k}": k for k in range(3, WORDS)} | {"<pad>": 0, "<s>": 1, "</s>": 2} | changed
    fast = Fast(WordLevel(vocabulary, unk_token="<pad>"))
    fast.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="</s>", pad_token="<pad>")


def saved(folder, family="llama", network=None, tokenizer=None):
    (network or configured(CONFIGS[family])).save_pretrained(folder)
    (tokenizer or words()).save_pretrained(folder)
    return AnchorSpec(name=folder.name, model=family, weights=str(folder))


def test_a_folder_gives_the_decoder_and_its_tokenizer(tmp_path):
    spec = saved(tmp_path / "mine")
    anchor, tokenizer = load_decoder(spec, 8), load_tokenizer(spec)
    ids = texts(2, 8)
    with torch.no_grad():
        assert torch.equal(anchor(ids), decoder("llama")(ids, use_cache=False).logits)
    assert anchor.info.name == "mine"
    assert anchor.info.transform.tokenizer == tokenizer.digest
    assert tokenizer.tokens("w5 w7") == [5, 7]
    assert tokenizer.text([5, 7, 2]) == "w5 w7"
    assert tokenizer.end == 2


def test_one_digest_for_weights_and_another_for_others(tmp_path):
    first = load_decoder(saved(tmp_path / "a"), 8)
    second = load_decoder(saved(tmp_path / "b"), 8)
    other = load_decoder(saved(tmp_path / "c", "qwen3"), 8)
    assert first.info.digest == second.info.digest != other.info.digest


def _broken():
    network = configured(CONFIGS["llama"])
    with torch.no_grad():
        network.model.norm.weight[3] = torch.nan
    return network


@pytest.mark.parametrize(
    ("spoil", "length", "sentence"),
    [
        (lambda folder: None, 65, "at most 64 tokens, and the study's have 65"),
        (lambda folder: (folder / "config.json").unlink(), 8, "no folder with a config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), 8, "cannot be opened"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), 8, "cannot be opened"),
        (lambda folder: _broken().save_pretrained(folder), 8, r"NaN .*'model.norm.weight'"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), 8, "its tokenizer: "),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence(tmp_path, spoil, length, sentence):
    spec = saved(tmp_path / "mine")
    spoil(tmp_path / "mine")
    with pytest.raises(AnchorError, match=sentence) as refusal:
        load_decoder(spec, length)
    assert str(refusal.value).startswith("mine: ")
    assert "\n" not in str(refusal.value)


def test_tokenizers_that_differ_are_refused_and_those_that_pad_differently_are_not():
    first, again = Tokenizer(words()), words()
    again(["w3 w4", "w3"], padding=True, truncation=True, max_length=4)
    refuse_different_tokenizers({"a": first, "b": Tokenizer(again)})
    odd = Tokenizer(words(w5=6, w6=5))
    with pytest.raises(
        AnchorError, match=r"b: its tokenizer is not that of a .*2 of its words.*w5"
    ):
        refuse_different_tokenizers({"a": first, "b": odd})
    cut = words()
    cut.backend_tokenizer.pre_tokenizer = None
    with pytest.raises(AnchorError, match="differs in its pre_tokenizer"):
        refuse_different_tokenizers({"a": first, "b": Tokenizer(cut)})


def test_code_beside_weights_is_not_run(tmp_path):
    spec = saved(tmp_path / "mine")
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    config |= {
        "model_type": "odd",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
    }
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine" / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(AnchorError, match="mine: "):
        load_decoder(spec, 8)
    assert not (tmp_path / "ran").exists()
