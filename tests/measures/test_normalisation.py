import torch
from torch import nn

from klas.measures.normalisation import has_statistics, recalibrate


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
