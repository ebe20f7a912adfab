"""timm's fused form: equal outputs at another cost, for anchors and for what is cut out of them."""

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn

from klas.errors import AnchorError
from klas.networks.cost import (
    AnchorCost,
    anchor_cost,
    count_macs,
    deployed_stitch_cost,
    stitch_cost,
)
from klas.networks.fusing import cut_alike, fused_form, fused_network
from klas.networks.stitch import Stitch, StitchLayer
from tests.networks import nets

FUSABLE = {
    "mobileone_s0": 64,
    "repvgg_a0": 64,
    "fastvit_t8": 64,
    "repghostnet_050": 64,
    "levit_128s": 224,
    "repvit_m0_9": 64,
    "tiny_vit_5m_224": 224,
    "iformer_t": 64,
}


def image(side):
    return torch.empty(1, 3, side, side, device="meta")


def lively(model):
    """With statistics that fusing can't leave out unseen."""
    torch.manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model


@pytest.fixture(scope="module")
def anchors():
    made = {}

    def anchor(name):
        if name not in made:
            made[name] = nets.anchor(lively(nets.network(name)), FUSABLE[name])
        return made[name]

    return anchor


def fused_parts(anchor):
    return cut_alike(fused_form(anchor), anchor.info)


def close(want, have):
    return (want - have).abs().max() <= 1e-4 * want.abs().max()


@pytest.mark.parametrize("name", FUSABLE)
def test_the_parts_of_the_fused_form_give_the_same_at_the_stated_cost(anchors, name):
    anchor, side = anchors(name), FUSABLE[name]
    cost = anchor_cost(anchor)
    fused = fused_network(anchor.network, name, (3, side, side))
    assert cost.deployed.total_macs == count_macs(fused, image(side)).macs < cost.total_macs or (
        cost.deployed.total_params < cost.total_params
    )
    assert cost.deployed_total == cost.deployed.total
    assert cost.deployed.total_params == sum(p.numel() for p in fused.parameters())
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        assert close(anchor(x), nn.Sequential(*fused_parts(anchor))(x))
        assert torch.equal(anchor(x), anchor.network(x))  # nothing of it was changed


def test_mobileone_at_64_pixels(anchors):
    cost = anchor_cost(anchors("mobileone_s0"))
    assert (cost.total_macs, cost.total_params) == (85_798_912, 4_278_522)
    assert (cost.deployed.total_macs, cost.deployed.total_params) == (22_384_640, 1_063_754)


@pytest.mark.parametrize(("i", "j"), [(1, 1), (3, 20), (40, 2)])
def test_a_stitch_of_fused_parts_costs_what_its_network_does(anchors, i, j):
    source, target = anchors("mobileone_s0"), anchors("repvgg_a0")
    costs = anchor_cost(source), anchor_cost(target)
    layer = StitchLayer(source.info.layouts[i], target.info.layouts[j])
    nn.init.normal_(layer.weight, std=0.05)
    trained = Stitch(source, i, target, j, layer).eval()
    stated = deployed_stitch_cost(source.info, costs[0], i, target.info, costs[1], j)
    stem, *front = fused_parts(source)[: i + 1]
    *back, head = fused_parts(target)[j + 1 :]
    fused = nn.Sequential(stem, *front, layer, *back, head)
    params = sum(p.numel() for p in fused.parameters())
    assert stated == (count_macs(fused, image(64)).macs, params, ())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert close(trained(x), fused(x))


def test_a_fused_form_that_is_cut_elsewhere_has_a_cost_as_a_whole_alone(anchors):
    odd = nets.anchor(lively(nets.network("lcnetv2_small")), 64)
    cost, other = anchor_cost(odd), anchor_cost(anchors("repvgg_a0"))
    fused = fused_form(odd)
    params = sum(p.numel() for p in fused.parameters())
    assert cost.deployed_total == (count_macs(fused, image(64)).macs, params, ())
    assert cost.deployed is None
    info = anchors("repvgg_a0").info
    assert deployed_stitch_cost(odd.info, cost, 2, info, other, 3) is None
    assert deployed_stitch_cost(info, other, 2, odd.info, cost, 3) is None
    assert AnchorCost.from_json(json.loads(json.dumps(asdict(cost)))) == cost
    assert AnchorCost.from_json(json.loads(json.dumps(asdict(other)))) == other


def test_only_one_of_a_pair_has_a_fused_form(anchors):
    source, target = anchors("repvgg_a0"), nets.anchor(nets.network("resnet18"), 64)
    costs = anchor_cost(source), anchor_cost(target)
    assert costs[1].deployed is None
    places = (source.info, costs[0], 2, target.info, costs[1], 3)
    saved = costs[0].front(2).macs - costs[0].deployed.front(2).macs
    assert stitch_cost(*places).macs - deployed_stitch_cost(*places).macs == saved > 0
    neither = (target.info, costs[1], 2, target.info, costs[1], 3)
    assert deployed_stitch_cost(*neither) is None


def test_a_fused_network_has_no_form_beside_its_own(anchors):
    fused = fused_network(anchors("repvgg_a0").network, "net", (3, 64, 64))
    assert anchor_cost(nets.anchor(fused, 64)).deployed is None


class Odd(nets.Block):
    """A block with a method that has timm's name and means another thing."""

    def fuse(self):
        return nn.Identity()


def odd():
    network = nets.Plain()
    network.layers = nn.ModuleList([Odd(8), Odd(8)])
    return network.eval()


class Failing(nets.Block):
    def switch_to_deploy(self):
        raise OSError("no licence")


def test_what_cannot_be_fused_is_refused_by_its_reason():
    with pytest.raises(AnchorError, match=r"net: .*Plain has nothing that timm can fuse; leave"):
        fused_network(nets.Plain().eval(), "net", (3, 16, 16))
    with pytest.raises(AnchorError, match="gives other outputs when timm fuses it"):
        fused_network(odd(), "net", (3, 16, 16))
    network = nets.Plain()
    network.layers.append(Failing(8))
    with pytest.raises(AnchorError, match=r"cannot be fused \(OSError: no licence\)"):
        fused_network(network.eval(), "net", (3, 16, 16))
    assert anchor_cost(nets.anchor(network, 16)).deployed is None
    assert anchor_cost(nets.anchor(odd(), 16)).deployed is None
