"""Anchors built again from a description, with the weights put back: the same, to the bit."""

import json
import sys

import pytest
import timm
import torch
from torch import nn

from klas.deploy.architecture import describe, rebuild
from klas.deploy.tensors import distinct, fill
from klas.errors import AnchorError, FormatError
from klas.networks.anchor import Anchor
from klas.networks.load import load_anchor
from klas.study import AnchorSpec
from tests.networks import nets

NETWORKS = {
    "test_resnet.r160_in1k": None,
    "test_vit.r160_in1k": (96, 64),
    "test_efficientnet.r160_in1k": 64,
}


def saved(name, folder, **options):
    """An anchor of random weights in a file."""
    file = folder / "model.safetensors"
    from safetensors.torch import save_model

    save_model(nets.network(name.partition(".")[0]), str(file))
    spec = AnchorSpec(name="mine", model=name, weights=str(file), **options)
    return load_anchor(spec, crop=0.9, interpolation="bicubic")


def again(anchor, **options):
    """Through JSON and back, with its tensors."""
    described = json.loads(json.dumps(describe(anchor)))
    built = rebuild(described, "config.json", **options)
    fill(built, distinct(anchor.state_dict()), "folder")
    built.forget_tables()
    return built


def same(anchor, built):
    images = torch.randn(2, *anchor.info.transform.input_size)
    with torch.no_grad():
        return torch.equal(anchor(images), built(images))


@pytest.mark.parametrize(("name", "size"), NETWORKS.items())
def test_an_anchor_is_built_again(name, size, tmp_path):
    anchor = saved(name, tmp_path, image_size=size)
    built = again(anchor)
    assert same(anchor, built)
    assert (built.info.cuts, built.info.layouts) == (anchor.info.cuts, anchor.info.layouts)
    assert built.info.transform == anchor.info.transform
    assert describe(built) == describe(anchor)


def test_an_anchor_of_chosen_outputs_and_one_in_its_fused_form(tmp_path):
    anchor = saved("mobileone_s0", tmp_path, image_size=64, fused=True)
    anchor.select((3, 1))
    built = again(anchor)
    assert same(anchor, built)
    assert built.info.fused
    assert (built.info.columns, built.info.classes) == ((3, 1), 2)


def test_an_anchor_of_a_users_function(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(
        "import timm\n"
        "def small():\n"
        "    return timm.create_model('test_resnet', num_classes=3).eval()\n"
    )
    monkeypatch.chdir(tmp_path)
    spec = AnchorSpec(name="own", model="own_nets:small", image_size=64)
    anchor = load_anchor(spec, crop=1.0, interpolation="bicubic", allow_code=True)
    assert same(anchor, again(anchor, allow_code=True))
    with pytest.raises(AnchorError, match="--allow-code"):
        again(anchor)
    described = describe(anchor)
    sys.modules.pop("own_nets")
    file = tmp_path / "own_nets.py"
    file.write_text(file.read_text() + "# changed\n")
    with pytest.raises(FormatError, match="source is another one here"):
        rebuild(described, "config.json", allow_code=True)


def test_a_network_that_nobody_can_make_again_is_no_part_of_a_file():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 2, stride=2),
        nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(2))),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )
    anchor = Anchor.from_module(network, "mine", transform=nets.transform((3, 8, 8)))
    with pytest.raises(AnchorError, match="nothing says how Sequential is made"):
        describe(anchor)


def test_arguments_that_a_file_cannot_hold(tmp_path):
    model = timm.create_model("test_vit", num_classes=10, act_layer=nn.ReLU).eval()
    anchor = Anchor.from_module(
        model, "mine", transform=nets.transform((3, 160, 160)), model="test_vit"
    )
    with pytest.raises(AnchorError, match="arguments that a file can't hold"):
        describe(anchor)
