import pytest
import timm
import torch

from klas.digits.zoo import ZOO
from klas.errors import AnchorError
from klas.networks.anchor import Anchor
from klas.networks.load import load_anchor
from klas.networks.split import split
from klas.study import AnchorSpec

# Class token, distillation token, register tokens, average pooling with fc_norm.
FAMILY = [
    ("vit_tiny_patch16_224", {"img_size": 32}),
    ("deit_tiny_distilled_patch16_224", {"img_size": 32}),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 28, "depth": 3}),
    ("vit_tiny_patch16_224", {"img_size": 32, "global_pool": "avg", "class_token": False}),
    ("vit_tiny_patch16_224", {"img_size": 32, "pre_norm": True}),
]


@pytest.mark.parametrize(("name", "options"), FAMILY)
def test_chained_parts_equal_the_whole_exactly_and_share_its_parameters(name, options):
    torch.manual_seed(0)
    model = timm.create_model(name, **options).eval()
    stem, blocks, head, cuts = split(model, name)
    images = torch.randn(3, 3, options["img_size"], options["img_size"])
    with torch.inference_mode():
        activation = stem(images)
        for block in blocks:
            activation = block(activation)
        assert torch.equal(head(activation), model(images))
    assert len(cuts) == len(blocks) + 1
    parts = torch.nn.ModuleList([stem, *blocks, head])
    assert {id(p) for p in parts.parameters()} == {id(p) for p in model.parameters()}


def test_a_network_that_cannot_be_cut_is_refused_by_name():
    with pytest.raises(AnchorError, match=r"net: ResNet cannot be cut"):
        split(timm.create_model("resnet18"), "net")


@pytest.mark.parametrize("name", ZOO)
def test_an_anchor_resumes_at_every_cut(name):
    spec = AnchorSpec(name=name, model=name)
    anchor = load_anchor(spec, crop=1.0, interpolation="bilinear")
    whole = timm.create_model(name, pretrained=True).eval()
    images = torch.randn(2, 1, 16, 16)
    with torch.inference_mode():
        wanted = whole(images)
        activations = anchor.cut_activations(images)
        assert len(activations) == anchor.info.depth + 1
        for cut, activation in enumerate(activations):
            layout = anchor.info.layouts[cut]
            assert activation.shape == (2, layout.positions, layout.channels)
            assert torch.equal(anchor.resume(activation, cut), wanted)
        assert torch.equal(anchor(images), wanted)


def test_training_an_anchor_trains_the_parts_that_stitches_use():
    anchor: Anchor = load_anchor(
        AnchorSpec(name=ZOO[0], model=ZOO[0]), crop=1.0, interpolation="bilinear"
    )
    before = anchor(torch.ones(1, 1, 16, 16))
    anchor.train()
    optimizer = torch.optim.SGD(anchor.parameters(), lr=0.1)
    anchor(torch.ones(1, 1, 16, 16)).square().sum().backward()
    assert all(p.grad is not None for p in anchor.parameters())
    optimizer.step()
    assert not torch.equal(anchor.eval()(torch.ones(1, 1, 16, 16)), before)
