import pytest
import torch
from torch import nn

from tests.networks.nets import Plain, anchor


class FoldedAway(Plain):
    """Counts rows, images times positions, before its blocks and unfolds by that count."""

    def forward(self, x):
        x = self.first(x)
        rows, positions = x.shape[0] * x.shape[2] * x.shape[3], x.shape[2:].numel()
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x).permute(0, 2, 3, 1).reshape(rows, -1)
        return self.fc(x.reshape(rows // positions, positions, -1).mean(1))


class WholeShape(Plain):
    """Keeps the shape as it was before its blocks, the batch in it."""

    def forward(self, x):
        x = self.first(x)
        shape = x.size()
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x).flatten().view(shape)
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("kind", [Plain, FoldedAway, WholeShape])
def test_what_crosses_a_cut_is_no_constant_in_an_export(kind):
    torch.manual_seed(0)
    model = kind().eval()
    parts = anchor(model, 32)
    net = nn.Sequential(*parts.blocks, parts.head)
    activation = parts.stem(torch.randn(3, 3, 32, 32))
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(net, (activation,), dynamic_shapes=dynamic).module()
    for batch in (1, 5):
        images = torch.randn(batch, 3, 32, 32)
        assert torch.allclose(program(parts.stem(images)), model(images), atol=1e-5)


def test_integers_that_cross_a_cut_scale_with_the_batch():
    model = Plain().eval()
    net = anchor(model, 32)
    for batch in (1, 2, 7):
        images = torch.randn(batch, 3, 32, 32)
        assert torch.equal(net(images), model(images))


def test_a_block_that_works_in_place_leaves_the_activation_before_it_alone():
    net = anchor(Plain().eval(), 32)
    activations = net.cut_activations(torch.randn(2, 3, 32, 32))
    assert activations[0].min() < 0  # the first block's ReLU would have made it 0
