"""The two folders: our own, and timm's."""

import json

import pytest
import timm
import torch
from safetensors import safe_open
from timm.models import save_for_hf

import klas
from klas.deploy.export.export import export
from klas.deploy.network import Network
from klas.errors import AnchorError, ExportError, FormatError
from tests.deploy.export.stitches import CLASSES, STITCHES, images, stitched

SOME = [STITCHES[0], pytest.param(STITCHES[3], marks=pytest.mark.slow)]


def same(network, other):
    x = images(network, 3)
    with torch.no_grad():
        return torch.equal(other(x), network(x))


@pytest.mark.parametrize("stitch", SOME, ids=str)
def test_our_own_folder_is_loaded_by_klas(stitch, tmp_path):
    network = stitched(*stitch)
    assert export(network, "safetensors", tmp_path / "n").difference == 0
    again = klas.load(tmp_path / "n")
    assert isinstance(again, Network)
    assert same(network, again)
    assert (again.transform, again.class_names) == (network.transform, CLASSES)


@pytest.mark.parametrize("stitch", SOME, ids=str)
def test_timm_opens_a_folder_and_saves_it_again(stitch, tmp_path):
    network, first, second = stitched(*stitch), tmp_path / "n", tmp_path / "again"
    assert export(network, "timm", first).difference == 0
    opened = timm.create_model(f"local-dir:{first}", pretrained=True)
    assert same(network, opened)
    assert not opened.training
    assert opened.num_classes == len(CLASSES)
    # What `push_to_hf_hub` does before it uploads.
    save_for_hf(opened, str(second), safe_serialization=True)
    assert same(network, timm.create_model(f"local-dir:{second}", pretrained=True))
    for folder in (first, second):
        assert sorted(f.name for f in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.fixture
def folder(tmp_path):
    export(stitched(*STITCHES[0]), "timm", tmp_path / "n")
    return tmp_path / "n"


def test_timm_knows_how_the_network_takes_an_image(folder):
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    how = timm.data.resolve_model_data_config(network)
    transform = network.transform
    assert tuple(how["input_size"]) == transform.input_size
    assert (tuple(how["mean"]), tuple(how["std"])) == (transform.mean, transform.std)
    assert (how["crop_pct"], how["interpolation"]) == (transform.crop, transform.interpolation)
    assert tuple(network.pretrained_cfg["label_names"]) == CLASSES


def test_timm_without_weights_makes_the_same_network_untrained(folder):
    blank = timm.create_model(f"local-dir:{folder}")
    with safe_open(folder / "model.safetensors", "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    assert {name: list(value.shape) for name, value in blank.state_dict().items()} == shapes


def test_what_timm_asks_that_the_network_has_decided(folder):
    with pytest.raises(ExportError, match="has 10 classes, not 5; load it as it is"):
        timm.create_model(f"local-dir:{folder}", num_classes=5)
    with pytest.raises(ExportError, match='name its folder, "local-dir:FOLDER"'):
        timm.create_model("klas_network")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda c: c.update(version=2), FormatError, "from a newer klas"),
        (lambda c: c["member"].update(target_block=99), FormatError, "out of range"),
        (lambda c: c["member"].pop("macs"), FormatError, "macs"),
        (lambda c: c["anchors"][0].update(model="os:getcwd"), AnchorError, "is Python code"),
        (lambda c: c["anchors"][0].update(model="no_such_net"), AnchorError, "no_such_net"),
    ],
)
def test_a_strangers_folder_says_what_cannot_be(folder, change, error, words):
    config = json.loads((folder / "config.json").read_text())
    change(config["model_args"]["config"])
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(error, match=words):
        timm.create_model(f"local-dir:{folder}", pretrained=True)
