import pytest
import timm
import torch

from klas.digits.zoo import ZOO
from klas.networks.load import load_anchor
from klas.study import AnchorSpec
from tests.networks.nets import Plain, anchor, network


def test_parts_follow_training_mode_and_share_parameters():
    model = Plain()
    net = anchor(model, 32).train()
    before = model.norm.running_mean.clone()
    net(torch.randn(4, 3, 32, 32) + 1).sum().backward()
    assert not torch.equal(model.norm.running_mean, before)
    assert all(p.grad is not None for p in model.parameters())
    net.eval()
    assert not model.norm.training


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
