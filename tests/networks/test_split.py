import pytest
import timm
import torch
from torch import nn

from klas.digits.zoo import ZOO
from klas.errors import AnchorError
from klas.networks.load import load_anchor
from klas.networks.split import split
from klas.study import AnchorSpec
from tests.networks.nets import anchor, network

RGB = (3, 32, 32)


class Block(nn.Module):
    """A residual block whose first act is to change its input in place."""

    def __init__(self, width):
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(self.act(x))


class Plain(nn.Module):
    """A network that knows nothing of timm."""

    def __init__(self, width=8, depth=3):
        super().__init__()
        self.first = nn.Conv2d(3, width, 4, stride=4)
        self.layers = nn.ModuleList([Block(width) for _ in range(depth)])
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 10)

    def forward(self, x):
        batch, _, height, _ = x.shape
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x).reshape(batch, -1, height // 4 * (height // 4))
        return self.fc(x.mean(2))


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


def test_blocks_may_be_plain_sequences_of_layers():
    blocks = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(3)]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    model = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Sequential(*blocks), head).eval()
    net = anchor(model, 32)
    images = torch.randn(5, 3, 32, 32)
    assert net.info.depth >= 3
    assert torch.equal(net(images), model(images))


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


def test_parts_follow_training_mode_and_share_parameters():
    model = Plain()
    net = anchor(model, 32).train()
    before = model.norm.running_mean.clone()
    net(torch.randn(4, 3, 32, 32) + 1).sum().backward()
    assert not torch.equal(model.norm.running_mean, before)
    assert all(p.grad is not None for p in model.parameters())
    net.eval()
    assert not model.norm.training


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


def test_a_parameter_that_blocks_share_counts_once():
    from klas.networks.count import anchor_cost

    # One table of relative positions for all blocks.
    options = {"img_size": 32, "depth": 3, "embed_dim": 48, "num_heads": 3}
    model = network("beit_base_patch16_224", use_shared_rel_pos_bias=True, **options)
    cost = anchor_cost(anchor(model, 32))
    assert cost.total_params == sum(p.numel() for p in model.parameters())
    assert cost.front_params[2] + cost.back_params[2] > cost.total_params


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


@pytest.mark.parametrize("name", ZOO)
def test_an_anchor_resumes_at_every_cut(name):
    spec = AnchorSpec(name=name, model=name)
    net = load_anchor(spec, crop=1.0, interpolation="bilinear")
    whole = timm.create_model(name, pretrained=True).eval()
    images = torch.randn(2, 1, 16, 16)
    with torch.inference_mode():
        wanted = whole(images)
        activations = net.cut_activations(images)
        assert len(activations) == net.info.depth + 1
        for cut, activation in enumerate(activations):
            assert torch.equal(net.resume(activation, cut), wanted)
        assert torch.equal(net(images), wanted)


def test_training_an_anchor_trains_the_parts_that_stitches_use():
    spec = AnchorSpec(name=ZOO[0], model=ZOO[0])
    net = load_anchor(spec, crop=1.0, interpolation="bilinear")
    before = net(torch.ones(1, 1, 16, 16))
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(torch.ones(1, 1, 16, 16)).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    optimizer.step()
    assert not torch.equal(net.eval()(torch.ones(1, 1, 16, 16)), before)


def test_parts_chain_under_autocast_to_rounding():
    model = network("resnet18")
    net = anchor(model, 64)
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(net(images), model(images), atol=2e-2, rtol=2e-2)
