"""Weights with timm's ``config.json`` beside them: what it says counts, and is checked first."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from klas.errors import AnchorError
from klas.networks.load import load_anchor
from klas.study import AnchorSpec
from tests.networks import nets
from tests.networks.loading import TINY

VIT = TINY  # for images of one channel and 16 pixels


def load(weights, model="test_resnet", **options):
    spec = AnchorSpec(name="mine", model=model, weights=str(weights), **options)
    return load_anchor(spec, crop=0.9, interpolation="bicubic", allow_code=True)


def refusal(weights, model="test_resnet"):
    with pytest.raises(AnchorError) as caught:
        load(weights, model)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mine: ")
    return str(caught.value)


def saved(folder, model="test_resnet", preprocessing=None, **options):
    torch.manual_seed(1)
    network = timm.create_model(model, num_classes=7, **options)
    save_for_hf(network, folder, safe_serialization=True, data_config=preprocessing)
    return network


OWN = {"input_size": (3, 96, 128), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}


@pytest.mark.parametrize("named", ["", "model.safetensors"], ids=["folder", "file"])
def test_what_timm_saved_says_how_images_are_taken(tmp_path, named):
    network = saved(tmp_path, preprocessing=OWN)
    info = load(tmp_path / named).info
    assert info.transform.input_size == (3, 96, 128)
    assert info.transform.mean == (0.1, 0.2, 0.3)
    assert info.transform.std == (0.4, 0.5, 0.6)
    # The study's geometry is that of all anchors.
    assert (info.transform.crop, info.transform.interpolation) == (0.9, "bicubic")
    assert info.weights["config"] == str(tmp_path / "config.json")
    assert info.weights["file"] == str(tmp_path / named)
    assert info.classes == network.num_classes == 7


def test_without_one_timms_own_counts(tmp_path):
    saved(tmp_path, preprocessing=OWN)
    (tmp_path / "config.json").unlink()
    info = load(tmp_path).info
    assert info.transform.input_size == (3, 160, 160)
    assert "config" not in info.weights


@pytest.mark.parametrize("stated", [True, False])
def test_a_network_that_is_made_for_one_size_is_made_for_that_of_its_weights(tmp_path, stated):
    saved(tmp_path, VIT, img_size=24)
    if not stated:  # as older files of timm's
        file = tmp_path / "config.json"
        raw = json.loads(file.read_text())
        raw["pretrained_cfg"]["input_size"] = [1, 16, 16]
        file.write_text(json.dumps(raw))
    anchor = load(tmp_path, VIT)
    assert anchor.info.transform.input_size == (1, 24, 24)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(2, 1, 24, 24)
    with torch.no_grad():
        assert torch.equal(anchor(x), again(x))


def test_the_studys_size_comes_before_that_of_the_file(tmp_path):
    saved(tmp_path, VIT, img_size=24)
    anchor = load(tmp_path, VIT, image_size=(16, 32))
    assert anchor.info.transform.input_size == (1, 16, 32)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, img_size=(16, 32)).eval()
    x = torch.randn(2, 1, 16, 32)
    with torch.no_grad():
        assert torch.equal(anchor(x), again(x))


def test_other_forms_of_the_file(tmp_path):
    saved(tmp_path)
    file = tmp_path / "config.json"
    # As timm wrote it at first: one table.
    file.write_text(json.dumps({"architecture": "test_resnet", **OWN}))
    assert load(tmp_path).info.transform.mean == (0.1, 0.2, 0.3)
    # A part of it: timm's own for the rest.
    part = {"architecture": "test_resnet", "pretrained_cfg": {"mean": [0, 0, 1]}}
    file.write_text(json.dumps(part))
    transform = load(tmp_path).info.transform
    assert transform.mean == (0.0, 0.0, 1.0)
    assert transform.input_size == (3, 160, 160)
    # Another library's: it says nothing that timm's networks follow.
    file.write_text(json.dumps({"architectures": ["ViTForImageClassification"], "image_size": 64}))
    info = load(tmp_path).info
    assert info.transform.input_size == (3, 160, 160)
    assert "config" not in info.weights


def with_config(inner):
    return json.dumps({"architecture": "test_resnet", "pretrained_cfg": inner})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 10**5, "cannot be read as JSON"),
        (with_config({"input_size": [3, 160]}), r"pretrained_cfg\.input_size"),
        (with_config({"input_size": [3, 160, -1]}), r"input_size\.2 = -1: .*greater than 0"),
        (with_config({"input_size": "3, 160, 160"}), r"input_size = \"3, 160, 160\": .*array"),
        (with_config({"mean": [0.5, None, 0.5]}), r"mean\.1 = null"),
        (with_config({"std": [0.5, 0, 0.5]}), r"std\.1 = 0: .*greater than 0"),
        (with_config({"mean": [float("nan")] * 3}), r"mean\.0 = .*finite"),
        (with_config({"input_size": [3, 8, 8], "std": [1, 1]}), "std has 2 numbers for 3 channels"),
        (with_config(None), "pretrained_cfg = null"),
        (
            json.dumps({"pretrained_cfg": {}, "model_args": {"img_size": "big"}}),
            r"img_size.* = \"b",
        ),
        (json.dumps({"architecture": 3, "pretrained_cfg": {}}), "architecture = 3"),
        (json.dumps({"architecture": "vit", "pretrained_cfg": {}}), "is of vit, but the model is"),
    ],
)
def test_a_file_that_is_not_as_timm_writes_it_is_refused(tmp_path, text, why):
    saved(tmp_path)
    (tmp_path / "config.json").write_text(text)
    message = refusal(tmp_path / "model.safetensors")
    assert str(tmp_path / "config.json") in message
    with pytest.raises(AnchorError, match=why):
        load(tmp_path)


def test_a_network_that_was_made_in_another_way_is_refused(tmp_path):
    saved(tmp_path, global_pool="max")
    assert "test_resnet made with global_pool = 'max'" in refusal(tmp_path)


def test_a_function_of_the_users_follows_the_file_too(tmp_path):
    torch.manual_seed(1)
    save_file(nets.Plain().state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": OWN}))
    info = load(tmp_path, "tests.networks.nets:Plain", image_size=(32, 32)).info
    assert info.transform.input_size == (3, 32, 32)
    assert info.transform.mean == (0.1, 0.2, 0.3)


def test_which_file_of_a_folder_is_meant(tmp_path):
    assert "holds no weights" in refusal(tmp_path)
    state = timm.create_model(TINY).state_dict()
    torch.save(state, tmp_path / "epoch-1.pth")
    assert load(tmp_path, TINY).info.digest
    save_file(state, tmp_path / "epoch-2.safetensors")
    message = refusal(tmp_path, TINY)
    assert "'epoch-1.pth', 'epoch-2.safetensors'; name one of these files" in message
    save_file(state, tmp_path / "model.safetensors")
    assert load(tmp_path, TINY).info.weights["file"] == str(tmp_path)
