import torch
from torch import nn

from klas.networks.splitting.blocks import block_of_parameter
from tests.networks.nets import Plain, anchor, network


def numbers(model):
    return {path: number for path, number in block_of_parameter(model).items() if "weight" in path}


def test_every_element_of_a_list_is_a_block_and_what_surrounds_the_list_is_none():
    assert numbers(Plain(depth=2)) == {
        "first.weight": None,
        "layers.0.conv.weight": 0,
        "layers.1.conv.weight": 1,
        "norm.weight": None,
        "fc.weight": None,
    }


def test_a_stage_that_timm_groups_as_a_whole_is_taken_apart():
    owners = block_of_parameter(network("pvt_v2_b0"))
    assert owners["stages.0.blocks.0.norm1.weight"] != owners["stages.0.blocks.1.norm1.weight"]


def test_blocks_may_be_plain_sequences_of_layers():
    blocks = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(3)]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    model = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Sequential(*blocks), head).eval()
    net = anchor(model, 32)
    images = torch.randn(5, 3, 32, 32)
    assert net.info.depth >= 3
    assert torch.equal(net(images), model(images))
