"""Networks without lists of blocks."""

import pytest
import torch
from torch import nn

from klas.errors import AnchorError
from tests.networks.nets import Plain, anchor


def conv(inner, outer, **options):
    return [nn.Conv2d(inner, outer, 3, padding=1, **options), nn.BatchNorm2d(outer), nn.ReLU()]


def flat():
    """Like torchvision's ``features``: single layers, one after another."""
    pool = nn.MaxPool2d(2)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 10)]
    layers = [*conv(3, 4, stride=2), *conv(4, 8), pool, *conv(8, 8), *conv(8, 8), pool, *head]
    return nn.Sequential(*layers)


class Forked(nn.Module):
    """A block whose paths run side by side."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(4, 4, 1)
        self.right = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1))

    def forward(self, x):
        return torch.cat((self.left(x), self.right(x)), 1)[:, ::2]


class Attributes(nn.Module):
    """Blocks that are attributes, like inception's."""

    def __init__(self, depth=3):
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 2, stride=2)
        self.offset = nn.Parameter(torch.ones(1, 4, 1, 1))
        for k in range(depth):
            setattr(self, f"block{k}", Forked())
        self.depth = depth
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        x = self.patches(x) + self.offset
        for k in range(self.depth):
            x = getattr(self, f"block{k}")(x)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "cuts"),
    [
        (flat, ("2", "4", "8", "11")),
        (Attributes, ("patches", "block0", "block1", "block2")),
    ],
)
def test_blocks_are_what_has_weights_between_two_places_where_one_tensor_passes(make, cuts):
    torch.manual_seed(0)
    model = make().eval()
    net = anchor(model, 32)
    images = torch.randn(5, 3, 32, 32)
    assert net.info.depth == len(cuts) - 1
    assert net.info.cuts == cuts
    assert torch.equal(net(images), model(images))
    for block in net.blocks:
        assert any(p.dim() > 1 for p in block.parameters())


def test_what_keeps_the_form_stays_with_its_block_and_pooling_joins_the_next():
    net = anchor(flat().eval(), 32)
    assert [layout.grid for layout in net.info.layouts] == [(16, 16), (16, 16), (8, 8), (8, 8)]
    assert all(bool((a >= 0).all()) for a in net.walk(torch.randn(2, 3, 32, 32)))


def test_what_comes_after_the_last_map_is_the_head_however_many_layers_it_has():
    net = anchor(flat().eval(), 32)
    assert sum(isinstance(m, nn.Linear) for m in net.head.modules()) == 2


def test_a_network_that_has_one_such_block_is_refused():
    with pytest.raises(AnchorError, match="one block was found"):
        anchor(flat()[:7].append(flat()[13:]), 32)


class Repeated(Plain):
    """One block that runs three times."""

    def __init__(self):
        super().__init__(depth=1)
        self.layers = nn.ModuleList([self.layers[0]] * 3)


def test_a_block_that_runs_several_times_is_refused_with_that_reason():
    with pytest.raises(AnchorError, match="its blocks are one module that runs several times"):
        anchor(Repeated(), 32)
