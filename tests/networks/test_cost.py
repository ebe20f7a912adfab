import pytest
import timm
import torch

from klas.digits.zoo import ZOO
from klas.networks.cost import anchor_cost, count_macs, stitch_cost
from klas.networks.load import load_anchor
from klas.networks.stitch import Stitch, StitchLayer
from klas.study import AnchorSpec
from tests.networks import nets


def anchor(name):
    return load_anchor(AnchorSpec(name=name, model=name), crop=1.0, interpolation="bilinear")


def meta(*shape):
    return torch.empty(*shape, device="meta")


# timm's published GMACs.
@pytest.mark.parametrize(
    ("name", "gmacs"), [("deit_tiny_patch16_224", 1.26), ("deit_small_patch16_224", 4.61)]
)
def test_macs_match_timms_published_figures(name, gmacs):
    count = count_macs(timm.create_model(name).eval(), meta(1, 3, 224, 224))
    assert count.macs / 1e9 == pytest.approx(gmacs, rel=0.03)


def test_a_linear_layer_costs_its_weight_at_every_token():
    count = count_macs(torch.nn.Linear(5, 7), meta(1, 11, 5))
    assert count.macs == 11 * 5 * 7
    assert count.output.shape == (1, 11, 7)


@pytest.mark.parametrize("name", ZOO)
def test_the_parts_sum_to_the_whole(name):
    cost = anchor_cost(anchor(name))
    whole = timm.create_model(name)
    macs = count_macs(whole, meta(1, 1, 16, 16)).macs
    assert cost.total_macs == macs
    assert cost.total_params == sum(p.numel() for p in whole.parameters())
    for cut in range(len(cost.macs) - 1):
        assert cost.front(cut).macs + cost.back(cut).macs == macs


def test_counting_leaves_the_network_where_it_is():
    net = anchor(ZOO[0])
    anchor_cost(net)
    assert all(p.device.type == "cpu" for p in net.parameters())


def shared_module(model):
    model.layers[2] = model.layers[1]


def shared_weight(model):
    model.layers[2].conv.weight = model.layers[1].conv.weight


@pytest.mark.parametrize("share", [shared_module, shared_weight])
def test_counting_leaves_what_a_network_has_under_two_names_where_it_is(share):
    model = nets.Plain().eval()
    share(model)
    macs = count_macs(model, meta(1, 3, 32, 32)).macs
    assert all(t.device.type == "cpu" for t in model.state_dict().values())
    assert macs == count_macs(nets.Plain().eval(), meta(1, 3, 32, 32)).macs


def test_a_stitchs_cost_is_that_of_the_network_it_builds():
    source, target = anchor(ZOO[0]), anchor(ZOO[1])
    costs = anchor_cost(source), anchor_cost(target)
    for i in range(1, source.info.depth + 1):
        for j in range(target.info.depth):
            layer = StitchLayer(source.info.layouts[i], target.info.layouts[j])
            network = Stitch(source, i, target, j, layer)
            macs = count_macs(network, meta(1, 1, 16, 16)).macs
            params = sum(p.numel() for p in network.parameters())
            stated = stitch_cost(source.info, costs[0], i, target.info, costs[1], j)
            assert stated == (macs, params, ())


def test_a_parameter_that_blocks_share_counts_once():
    # One table of relative positions for all blocks.
    options = {"img_size": 32, "depth": 3, "embed_dim": 48, "num_heads": 3}
    model = nets.network("beit_base_patch16_224", use_shared_rel_pos_bias=True, **options)
    cost = anchor_cost(nets.anchor(model, 32))
    assert cost.total_params == sum(p.numel() for p in model.parameters())
    assert cost.front_params[2] + cost.back_params[2] > cost.total_params
