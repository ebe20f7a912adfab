import pytest
import torch

from klas.digits.zoo import ZOO
from klas.errors import AnchorError
from klas.networks.anchor import Layout
from klas.networks.load import load_anchor
from klas.networks.stitch import Stitch, check_layouts, set_stitch_layer, stitch_layer
from klas.study import AnchorSpec


def anchor(name):
    return load_anchor(AnchorSpec(name=name, model=name), crop=1.0, interpolation="bilinear")


def test_an_identity_stitch_of_a_network_with_itself_is_the_network():
    net = anchor(ZOO[1])
    layout = net.info.layouts[2]
    layer = stitch_layer(layout, layout)
    set_stitch_layer(layer, torch.eye(layout.channels), torch.zeros(layout.channels))
    images = torch.randn(4, 1, 16, 16)
    with torch.inference_mode():
        found = Stitch(net, 2, net, 2, layer).eval()(images)
        assert torch.allclose(found, net(images), atol=1e-5)


def test_a_stitch_backpropagates_into_both_anchors_and_the_layer():
    source, target = anchor(ZOO[0]), anchor(ZOO[1])
    layer = stitch_layer(source.info.layouts[1], target.info.layouts[3])
    torch.nn.init.normal_(layer.weight)
    stitch = Stitch(source, 1, target, 3, layer)
    stitch(torch.randn(2, 1, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in stitch.parameters())
    assert source.blocks[1].attn.qkv.weight.grad is None  # block 2 takes no part
    assert target.blocks[2].attn.qkv.weight.grad is None


def test_layouts_that_do_not_correspond_are_refused():
    small, large = (Layout(channels=8, grid=(n, n), prefix=1) for n in (4, 7))
    with pytest.raises(AnchorError, match=r"a → b: .*\(4, 4\).*\(7, 7\)"):
        check_layouts(small, large, "a → b")
