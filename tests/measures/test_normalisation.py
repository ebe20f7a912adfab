from copy import deepcopy

import pytest
import torch
from timm.layers import BatchNormAct2d, EvoNorm2dB0, FrozenBatchNormAct2d
from torch import nn
from torch.nn.functional import cross_entropy

from klas.measures.normalisation import calibrate_stitches, has_statistics, recalibrate
from klas.networks.family import Family
from klas.networks.load import load_anchor
from klas.networks.stitch import StitchLayer
from klas.study import AnchorSpec
from klas.tasks.classification import Classification


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU())


def test_statistics_are_those_of_the_images_whatever_they_were():
    net = network()
    net[1].running_mean.fill_(99.0)
    batches = [(torch.randn(8, 3, 6, 6) + k,) for k in range(3)]
    actual = recalibrate(net, batches)
    outputs = [net[0](images) for (images,) in batches]
    means = torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0)
    variances = torch.stack([y.transpose(0, 1).flatten(1).var(1) for y in outputs]).mean(0)
    assert torch.allclose(net[1].running_mean, means, atol=1e-5)
    assert torch.allclose(net[1].running_var, variances, atol=1e-4)
    assert set(actual) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert torch.equal(actual["1.running_mean"], net[1].running_mean)
    assert net[1].momentum == 0.3
    assert not net.training


def test_a_network_without_statistics_is_not_run():
    net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    assert not has_statistics(net)
    assert recalibrate(net, iter([])) == {}


LAYERS = {
    "BatchNorm2d": lambda: nn.BatchNorm2d(4, momentum=0.3),
    "BatchNorm2d, plain mean": lambda: nn.BatchNorm2d(4, momentum=None),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    "BatchNormAct2d": lambda: BatchNormAct2d(4, drop_layer=nn.Dropout),
    "EvoNorm2dB0": lambda: EvoNorm2dB0(4),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer_with_statistics_takes_them_from_the_images_alone(kind):
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    momentum = layer.momentum
    batches = [(torch.randn(8, 4, 6, 6) * (k + 1),) for k in range(3)]
    first = recalibrate(layer, batches)
    layer.running_var.fill_(50.0)
    second = recalibrate(layer, batches)
    assert first.keys() == second.keys() > set()
    assert all(torch.equal(first[name], second[name]) for name in first)
    each = torch.stack([recalibrate(layer, [batch])["running_var"] for batch in batches])
    assert torch.allclose(first["running_var"], each.mean(0), rtol=1e-5)
    assert layer.momentum == momentum
    assert not any(module.training for module in layer.modules())


def test_frozen_statistics_are_constants():
    layer = FrozenBatchNormAct2d(4)
    assert not has_statistics(layer)
    assert recalibrate(layer, iter([])) == {}
    assert not has_statistics(nn.BatchNorm2d(4, track_running_stats=False))


def one_by_one(family, place, batches):
    """A stitch's statistics behind its layer, and its loss, from a network of its own."""
    network = deepcopy(family).stitch(place)
    behind = [network.back, network.head]
    norms = [m for part in behind for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        losses = [cross_entropy(network(x), y) for x, y in batches]
    state = network.state_dict()
    return {n: v for n, v in state.items() if "running" in n}, torch.stack(losses).mean()


def test_a_stitch_between_frozen_anchors_has_statistics_of_what_comes_through_its_layer():
    source, target = (
        load_anchor(AnchorSpec(name=n, model=n), crop=1.0, interpolation="bilinear")
        for n in ("digits_convnet", "digits_convnet")
    )
    torch.manual_seed(0)
    places = [(1, 1), (2, 1), (3, 2)]
    states = {}
    for i, j in places:
        layer = StitchLayer(source.info.layouts[i], target.info.layouts[j])
        nn.init.normal_(layer.weight, std=0.3)
        states[i, j] = layer.state_dict()
    given = [deepcopy(anchor.state_dict()) for anchor in (source, target)]
    family = Family(source, target, states)
    batches = [(torch.randn(9, 1, 16, 16), torch.randint(10, (9,))) for _ in range(3)]
    expected = {place: one_by_one(family, place, batches) for place in places}
    losses = calibrate_stitches(family, batches, objective=Classification())
    assert family.shares_source
    for place, (statistics, loss) in expected.items():
        own = family.statistics[place]
        assert own
        assert all(name.startswith(("back.", "head.")) for name in own)
        assert all(
            torch.allclose(own[n], v, rtol=1e-4, atol=1e-6)
            for n, v in statistics.items()
            if n in own
        )
        assert losses[place] == pytest.approx(float(loss), rel=1e-5)
        # As a network of its own, the stitch gives what the family measures.
        with torch.inference_mode():
            alone = family.use(place).stitch(place)(batches[0][0])
            assert torch.equal(family.use(place)(batches[0][0]), alone)
    # Neither anchor has noticed.
    for anchor, before in zip((source, target), given):
        after = anchor.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
    again = calibrate_stitches(family, batches, objective=Classification())
    assert again == losses
