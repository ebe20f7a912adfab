from itertools import product

import pytest
import torch
from torch.nn.functional import interpolate

from klas.digits.zoo import ZOO
from klas.errors import AnchorError
from klas.networks.anchor import freeze
from klas.networks.cost import count_macs
from klas.networks.layout import Layout, maps_and_prefix
from klas.networks.load import load_anchor
from klas.networks.stitch import Stitch, StitchLayer, layer_macs, layer_params, stitch_layer
from klas.study import AnchorSpec
from tests.networks.layouts import LAYOUTS, activation, shape
from tests.networks.nets import anchor as net_anchor
from tests.networks.nets import network

SEQUENCE = Layout(channels=6, grid=(), prefix=0)


def anchor(name):
    return load_anchor(AnchorSpec(name=name, model=name), crop=1.0, interpolation="bilinear")


def filled(source, target):
    torch.manual_seed(0)
    layer = StitchLayer(source, target)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def test_an_identity_stitch_of_a_network_with_itself_is_the_network():
    net = anchor(ZOO[1])
    layout = net.info.layouts[2]
    width = layout.channels
    layer = stitch_layer(layout, layout, {"weight": torch.eye(width), "bias": torch.zeros(width)})
    images = torch.randn(4, 1, 16, 16)
    with torch.inference_mode():
        logits = Stitch(net, 2, net, 2, layer).eval()(images)
        assert torch.allclose(logits, net(images), atol=1e-5)


def test_a_stitch_backpropagates_into_both_anchors_and_the_layer():
    source, target = anchor(ZOO[0]), anchor(ZOO[1])
    layer = filled(source.info.layouts[1], target.info.layouts[3])
    stitch = Stitch(source, 1, target, 3, layer)
    stitch(torch.randn(2, 1, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in stitch.parameters())
    assert all(p.grad is None for p in source.blocks[1].parameters())  # block 2 takes no part
    assert all(p.grad is None for p in target.blocks[2].parameters())


@pytest.mark.parametrize("target", LAYOUTS, ids=str)
@pytest.mark.parametrize("source", LAYOUTS, ids=str)
def test_t_leads_from_any_form_to_any_other_at_its_stated_cost(source, target):
    layer = filled(source, target)
    assert layer(activation(source)).shape == (2, *shape(target))
    macs = count_macs(layer, torch.empty(1, *shape(source), device="meta")).macs
    assert macs == layer_macs(source, target)
    assert sum(p.numel() for p in layer.parameters()) == layer_params(source, target)


@pytest.mark.parametrize("target", LAYOUTS, ids=str)
@pytest.mark.parametrize("source", LAYOUTS, ids=str)
def test_the_slow_obvious_t_agrees(source, target):
    """Resize to the target's grid first, map every position there, then make the prefix."""
    layer, x = filled(source, target), activation(source)
    maps, prefix = maps_and_prefix(x, source)
    size = {"size": target.grid, "mode": "bilinear", "align_corners": False}
    moved = interpolate(maps.permute(0, 3, 1, 2), **size).permute(0, 2, 3, 1)
    wanted_maps = moved @ layer.weight.T + layer.bias
    if source.prefix == target.prefix:
        wanted = [token @ layer.weight.T + layer.bias for token in prefix.unbind(1)]
    else:
        mean = maps.mean((1, 2))
        wanted = [
            mean @ layer.prefix_weight[p].T + layer.prefix_bias[p] for p in range(target.prefix)
        ]
    got_maps, got_prefix = maps_and_prefix(layer(x), target)
    assert torch.allclose(got_maps, wanted_maps, atol=1e-4)
    for got, token in zip(got_prefix.unbind(1), wanted, strict=True):
        assert torch.allclose(got, token, atol=1e-4)


class Side(torch.nn.Module):
    """Stitch layers side by side, so that one export serves them all."""

    def __init__(self, layers):
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)

    def forward(self, *activations):
        return [layer(x) for layer, x in zip(self.layers, activations, strict=True)]


def test_t_is_exported_for_any_batch_between_any_two_forms():
    ends = list(product([*LAYOUTS, SEQUENCE], repeat=2))
    ends = [(a, b) for a, b in ends if bool(a.grid) == bool(b.grid)]
    layers = Side([filled(*pair) for pair in ends])
    dynamic = tuple({0: torch.export.Dim("batch")} for _ in ends)
    program = torch.export.export(
        layers, tuple(example(a, 3) for a, _ in ends), dynamic_shapes=(dynamic,)
    )
    for batch in (1, 5):
        inputs = [example(a, batch) for a, _ in ends]
        for got, want in zip(program.module()(*inputs), layers(*inputs), strict=True):
            assert torch.allclose(got, want, atol=1e-5)


def example(layout, batch):
    return activation(layout, batch) if layout.grid else torch.randn(batch, 4, layout.channels)


def test_between_sequences_t_is_a_linear_layer_at_every_position():
    source, target = (Layout(channels=c, grid=(), prefix=0) for c in (6, 4))
    layer = filled(source, target)
    for length in (1, 5, 9):
        x = torch.randn(2, length, 6)
        assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
        macs = count_macs(layer, torch.empty(1, length, 6, device="meta")).macs
        assert macs == length * layer_macs(source, target)
    assert sum(p.numel() for p in layer.parameters()) == layer_params(source, target)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_sequence_and_a_map_are_not_stitched(layout):
    sequence = Layout(channels=6, grid=(), prefix=0)
    grid = " × ".join(map(str, layout.grid))
    for ends in ((sequence, layout), (layout, sequence)):
        for join in (StitchLayer, layer_macs):
            with pytest.raises(AnchorError, match=f"a sequence and a map of {grid} positions"):
                join(*ends)


def test_a_stitch_across_families_is_a_module_like_any_other():
    source = freeze(net_anchor(network("resnet18"), 64), torch.device("cpu"))
    target = net_anchor(network("deit_tiny_distilled_patch16_224", img_size=64, depth=3), 64)
    layer = filled(source.info.layouts[3], target.info.layouts[1])
    stitch = Stitch(source, 3, target, 1, layer)
    images = torch.randn(2, 3, 64, 64)
    logits = stitch.eval()(images)
    assert logits.shape == (2, 10)
    twin = Stitch(source, 3, target, 1, StitchLayer(layer.source, layer.target)).eval()
    twin.load_state_dict(stitch.state_dict())
    assert torch.equal(twin(images), logits)
