"""What the code of a network may do between its blocks and still be traced."""

import pytest
import torch
from torch import nn

from tests.networks.nets import Block, Plain, anchor


class Noting(Block):
    """Adds what it saw to a list that it is given."""

    def forward(self, x, notes):
        notes.append(x.mean((2, 3), keepdim=True))
        return super().forward(x)


class Passing(nn.Module):
    """Hands the list on."""

    def __init__(self, width):
        super().__init__()
        self.inner = Noting(width)

    def forward(self, x, notes):
        return self.inner(x, notes)


class Reading(Plain):
    """Reads what its blocks added to a list."""

    def __init__(self, block):
        super().__init__()
        self.layers = nn.ModuleList([block(8) for _ in range(3)])

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            notes = [x.amax((2, 3), keepdim=True)]
            x = layer(x, notes)
            x = x + sum(notes)
        return self.fc(self.norm(x).mean((2, 3)))


class Embedding(nn.Module):
    """Gives an activation and a mask, which is none for whole images."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.norm(self.conv(x)), None


class Masking(Plain):
    """Asks whether its mask masks anything, if it has one."""

    def __init__(self):
        super().__init__()
        self.first = Embedding()

    def forward(self, x):
        x, mask = self.first(x)
        for layer in self.layers:
            x = layer(x)
        if mask is not None and mask.any():
            x = x * mask
        return self.fc(self.norm(x).mean((2, 3)))


def assert_cut(model):
    torch.manual_seed(0)
    net = anchor(model.eval(), 32)
    images = torch.randn(5, 3, 32, 32)
    assert net.info.depth == 3
    assert torch.equal(net(images), model(images))


@pytest.mark.parametrize("block", [Noting, Passing])
def test_what_a_block_adds_to_a_list_reaches_the_code_that_reads_it(block):
    assert_cut(Reading(block))


def test_a_mask_that_is_none_is_none_to_the_code_that_asks():
    assert_cut(Masking())
