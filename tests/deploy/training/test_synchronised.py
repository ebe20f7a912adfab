import torch

from klas.deploy.training.synchronised import synchronised
from tests.deploy.elastics import elastic, images
from tests.deploy.training.trainings import VITS, WITH_CONVNET


def layers(network, kind):
    parts = (network, *network.families.values())
    return [m for part in parts for m in part.modules() if isinstance(m, kind)]


def test_every_batch_normalisation_is_replaced_for_a_while():
    network = elastic(WITH_CONVNET)
    before = layers(network, torch.nn.BatchNorm2d)
    parameters = {id(p) for p in network.parameters()}
    with torch.no_grad():
        expected = [network.use(member.name)(images()) for member in network.members]
        with synchronised(network):
            assert not layers(network, torch.nn.BatchNorm2d)
            assert len(layers(network, torch.nn.SyncBatchNorm)) == len(before)
            assert {id(p) for p in network.parameters()} == parameters
            among = [network.use(member.name)(images()) for member in network.members]
        after = [network.use(member.name)(images()) for member in network.members]
    assert [id(m) for m in layers(network, torch.nn.BatchNorm2d)] == [id(m) for m in before]
    assert not layers(network, torch.nn.SyncBatchNorm)
    for one, other, last in zip(expected, among, after):
        assert torch.equal(one, other)
        assert torch.equal(one, last)


def test_where_nothing_normalises_nothing_is_replaced():
    network = elastic(VITS)
    before = [id(m) for m in network.modules()]
    with synchronised(network):
        assert [id(m) for m in network.modules()] == before
