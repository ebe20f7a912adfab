import torch
from torch import nn

from klas.networks.splitting.blocks import block_of_parameter
from tests.networks.nets import Plain, anchor, network


def numbers(model, **options):
    owners = block_of_parameter(model, **options)
    return {path: number for path, number in owners.items() if "weight" in path}


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


def test_groups_taken_as_they_are_keep_paths_that_run_side_by_side_together():
    owners = numbers(network("skresnet18"), whole=True)
    paths = {owners[f"layer1.0.conv1.paths.{k}.conv.weight"] for k in (0, 1)}
    assert paths == {owners["layer1.0.conv2.conv.weight"]}
    assert owners["layer1.1.conv2.conv.weight"] not in paths


def test_groups_taken_as_they_are_end_in_what_timm_says_joins_them():
    owners = numbers(network("cspresnet50"), whole=True)
    last = owners["stages.0.blocks.2.conv1.conv.weight"]
    assert owners["stages.0.conv_transition.conv.weight"] == last
    assert owners["stages.0.blocks.1.conv1.conv.weight"] != last
    assert owners["head.fc.weight"] is None


def test_blocks_may_be_plain_sequences_of_layers():
    blocks = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(3)]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    model = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Sequential(*blocks), head).eval()
    net = anchor(model, 32)
    images = torch.randn(5, 3, 32, 32)
    assert net.info.depth >= 3
    assert torch.equal(net(images), model(images))
