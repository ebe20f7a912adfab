import pytest
import timm
import torch
from torch import nn

from klas.errors import AnchorError
from klas.networks.splitting.split import split
from tests.networks.nets import Plain, anchor, network

RGB = (3, 32, 32)


class Streams(Plain):
    """Two tensors pass from block to block."""

    def forward(self, x):
        x = self.first(x)
        y = x * 2
        for layer in self.layers:
            x, y = layer(x) + y, layer(y) - x
        return self.fc(self.norm(x + y).mean((2, 3)))


class Branching(Plain):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


def test_a_module_of_ones_own_is_cut_at_the_elements_of_its_list():
    torch.manual_seed(0)
    model = Plain().eval()
    parts = split(model, "mine", RGB)
    assert parts.cuts == ("first", "layers.0", "layers.1", "layers.2")
    assert {layout.grid for layout in parts.layouts} == {(8, 8)}
    assert (parts.classes, parts.merged) == (10, ())


def test_cutting_leaves_the_networks_mode_and_values_alone():
    model = Plain().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    parts = split(model, "mine", RGB)
    assert model.training
    assert parts.head.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()


def test_a_network_with_tables_that_it_keeps_still_runs_after_it_was_cut():
    model = network("convit_tiny", img_size=32, depth=3)  # keeps its relative positions
    images = torch.randn(2, 3, 32, 32)
    net = anchor(model, 32)
    assert torch.equal(model(images), net(images))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Streams(), "more than one tensor passes between its blocks"),
        (Branching(), "torch.fx cannot trace it"),
        (nn.Linear(4, 2), "0 blocks were found"),
        (Plain(depth=1), "1 blocks were found"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_reason(model, why):
    with pytest.raises(AnchorError, match=rf"mine: {type(model).__name__} cannot be cut.*{why}"):
        split(model, "mine", RGB)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("crossvit_9_240", "more than one tensor passes"),
        ("pit_ti_224", "more than one tensor passes"),
        ("hrnet_w18_small", "more than one tensor passes"),
        ("hiera_tiny_224", "not in the order of the image's rows"),
    ],
)
def test_networks_of_several_streams_or_shuffled_tokens_are_refused_by_name(name, why):
    model = timm.create_model(name).eval()
    with pytest.raises(AnchorError, match=f"{name}: {type(model).__name__} cannot be cut.*{why}"):
        split(model, name, tuple(model.pretrained_cfg["input_size"]))
