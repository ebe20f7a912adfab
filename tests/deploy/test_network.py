"""One member alone, as a folder."""

import json

import pytest
import torch

import klas
from klas.deploy import writing
from klas.errors import FormatError, KlasError, StoreError
from tests.deploy.elastics import TINY, elastic, images

STITCH = "digits_vit_tiny:2-digits_convnet:3"


@pytest.fixture(scope="module")
def networks():
    whole = elastic(class_names=list("abcdefghij"), accuracy={STITCH: {"tuned": 0.5}})
    return {name: whole.extract(name) for name in (STITCH, TINY)}


@pytest.mark.parametrize("name", [STITCH, TINY])
def test_a_network_comes_back_to_the_bit(networks, name, tmp_path):
    networks[name].save(tmp_path)
    again = klas.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(images()), networks[name](images()))
    assert again.state_dict().keys() == networks[name].state_dict().keys()
    assert (again.name, again.member) == (name, networks[name].member)
    assert (again.transform, again.class_names) == (networks[name].transform, tuple("abcdefghij"))
    assert not again.training


def test_it_has_only_the_parts_that_it_runs(networks, tmp_path):
    networks[STITCH].save(tmp_path)
    stored = sum(p.numel() for p in klas.load(tmp_path).parameters())
    assert stored == networks[STITCH].member.params


def test_it_trains_like_any_module(networks, tmp_path):
    networks[STITCH].save(tmp_path)
    network = klas.load(tmp_path).train()
    network(images()).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["member"].update(source="nobody"), "is not one of its anchors"),
        (lambda d: d["member"].update(target_block=0), "its tensors are not"),
        (lambda d: d["member"].update(target_block=9), "target_block 9 of digits_convnet"),
        (lambda d: d["member"].update(target=None), "its tensors are not"),
        (lambda d: d["anchors"].pop(), "is not one of its anchors"),
        (lambda d: d["weights"].update(sha256="0" * 64), "not the file that"),
    ],
)
def test_what_it_says_of_itself_is_checked(networks, tmp_path, change, words):
    networks[STITCH].save(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    change(document)
    (tmp_path / "config.json").write_text(json.dumps(writing.signed(document)))
    with pytest.raises(KlasError, match=words):
        klas.load(tmp_path)


def test_what_is_no_network(networks, tmp_path):
    with pytest.raises(FormatError, match="a saved network is a folder with this file"):
        klas.load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(FormatError, match=r"config\.json"):
        klas.load(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    with pytest.raises(FormatError, match="its format is None"):
        klas.load(tmp_path)
    with pytest.raises(StoreError, match="holds a network already"):
        networks[TINY].save(tmp_path)
