import pytest
import timm
import torch
from torch import nn

from klas.errors import AnchorError
from klas.networks.splitting.split import split
from tests.networks.nets import Block, Plain, anchor, network

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


class Pairs(Plain):
    """A tuple passes from block to block."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([InPairs(8) for _ in range(3)])

    def forward(self, x):
        pair = (self.first(x), self.first(-x))
        for layer in self.layers:
            pair = layer(pair)
        return self.fc(self.norm(pair[0] + pair[1]).mean((2, 3)))


class InPairs(Block):
    def forward(self, pair):
        return super().forward(pair[0]), super().forward(pair[1])


class Within(Plain):
    """Its second block runs within its first."""

    def forward(self, x):
        x = self.first(x)
        first, second, _ = self.layers
        x = x + first.conv(second(first.act(first.conv(x))))
        return self.fc(self.norm(x).mean((2, 3)))


class SequenceFirst(Plain):
    """Tokens (L, N, C), as torch's own attention has them by default."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(3)])

    def forward(self, x):
        x = self.first(x).flatten(2).permute(2, 0, 1)
        for layer in self.layers:
            x = x + layer(x)
        return self.fc(x.mean(0))


class Vectors(SequenceFirst):
    """Blocks after pooling: nothing of the image's rows and columns is left."""

    def forward(self, x):
        x = self.first(x).mean((2, 3))
        for layer in self.layers:
            x = x + layer(x)
        return self.fc(x)


class Strange(SequenceFirst):
    """Tokens whose number is no grid's."""

    def forward(self, x):
        x = self.first(x).flatten(2).transpose(1, 2)[:, :51]
        for layer in self.layers:
            x = x + layer(x)
        return self.fc(x.mean(1))


class Last(SequenceFirst):
    """Its class token comes behind the image's."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 8))

    def forward(self, x):
        x = self.first(x).flatten(2).transpose(1, 2)
        x = torch.cat((x, self.token.expand(x.shape[0], -1, -1)), 1)
        for layer in self.layers:
            x = x + layer(x)
        return self.fc(x[:, -1])


class Answer(Plain):
    def forward(self, x):
        return {"logits": super().forward(x)}


class Maps(Plain):
    def forward(self, x):
        return self.first(x)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Streams(), r"more than one tensor passes between its blocks \(2 from layers\.0"),
        (Pairs(), r"more than one tensor passes between its blocks \(2 from first to layers\.2"),
        (SequenceFirst(), r"first axis of the tensor .* is not the batch: \(64, 2, 8\) for 2"),
        (Vectors(), r"the tensor \(N, 8\) that passes .* is neither a map nor tokens"),
        (Strange(), r"the tensor \(N, 51, 8\) that passes .* neither a map nor .* 32×32 pixels"),
        (Last(), "its tokens that are no part of the image do not come first"),
        (nn.Flatten(), "no blocks were found"),
        (Branching(), "torch.fx cannot trace it"),
        (nn.Linear(4, 2), r"it cannot take images of 3×32×32 \(RuntimeError: "),
        (Maps(), r"does not give one row of logits per image, but a tensor \(N, 8, 8, 8\)"),
        (Answer(), "it returns dict, not .*: wrap it in a module that returns its logits alone"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)), "no blocks were found"),
        (Plain(depth=1), "one block was found"),
        (Within(), r"more than one tensor passes between its blocks \(2 from layers\.0\.conv to"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_cannot_be_cut_is_refused_with_its_own_reason(model, why):
    with pytest.raises(AnchorError, match=rf"mine: {type(model).__name__} cannot be cut.*{why}"):
        split(model, "mine", RGB)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("crossvit_9_240", "more than one tensor passes"),
        ("coat_tiny", "more than one tensor passes"),
        ("hrnet_w18_small", "more than one tensor passes"),
        ("hiera_tiny_224", "not in the order of the image's rows"),
    ],
)
def test_networks_of_several_streams_or_shuffled_tokens_are_refused_by_name(name, why):
    model = timm.create_model(name).eval()
    with pytest.raises(AnchorError, match=f"{name}: {type(model).__name__} cannot be cut.*{why}"):
        split(model, name, tuple(model.pretrained_cfg["input_size"]))
