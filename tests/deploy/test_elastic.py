"""Every member against the stitched network that it is, to the bit, through everything."""

import json
import os
from collections import Counter
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import klas
from klas.deploy import writing
from klas.deploy.card import model_card
from klas.deploy.load import elastic_of_list
from klas.deploy.weights_file import save_layers
from klas.digits.zoo import ZOO
from klas.errors import AnchorError, FormatError, KlasError, SelectionError, StoreError
from klas.networks.cost import count_macs
from klas.networks.stitch import Stitch
from klas.pipeline.run import Pipeline
from klas.results.formats import write
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.results.stitch_list import stitch_list
from tests.conftest import SMALL
from tests.deploy.elastics import BASE, CONVNET, STITCHES, TINY, elastic, images, pretrained
from tests.deploy.test_load import export, measured


@pytest.fixture(scope="module")
def whole():
    """Who changes it makes one."""
    return elastic(class_names=list("0123456789"), tier="tuned")


@pytest.fixture(scope="module")
def saved(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    whole.save(folder)
    return folder


def names(network):
    return [member.name for member in network.members]


@torch.no_grad()
def outputs(network):
    return {name: network.use(name)(images()) for name in names(network)}


def equal(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@torch.no_grad()
def reference():
    """Each stitch put together by itself from networks loaded anew, and the anchors alone."""
    made, actual = elastic(), {name: pretrained(name)(images()) for name in ZOO}
    for (f, g), places in STITCHES.items():
        family = made.families[f, g]
        for i, j in places:
            source, target = deepcopy(pretrained(f)), deepcopy(pretrained(g))
            network = Stitch(source, i, target, j, family.layer((i, j))).eval()
            state = network.state_dict() | dict(family.statistics.get((i, j), {}))
            network.load_state_dict(state)
            actual[f"{f}:{i}-{g}:{j}"] = network(images())
    return actual


def test_every_member_runs_as_the_network_that_it_is(whole):
    assert len(whole.members) == len(ZOO) + sum(map(len, STITCHES.values()))
    assert equal(outputs(whole), reference())


def test_every_member_equals_its_extract_before_and_after_saving(whole, saved):
    again = klas.load(saved)
    assert equal(outputs(whole), outputs(again))
    with torch.no_grad():
        for network in (whole, again):
            alone = {name: network.extract(name)(images()) for name in names(network)}
            assert equal(alone, outputs(whole))


def test_what_is_extracted_in_inference_mode_is_the_same_and_can_be_trained(whole):
    name = "digits_vit_tiny:1-digits_convnet:1"
    with torch.inference_mode():
        network = whole.extract(name)
    with torch.no_grad():
        assert torch.equal(network(images()), outputs(whole)[name])
    network.train()(images()).sum().backward()


def test_an_extract_is_independent(whole):
    before = outputs(whole)
    for name in names(whole):
        for parameter in whole.extract(name).parameters():
            parameter.data.fill_(9)
    assert equal(outputs(whole), before)


def test_nothing_is_saved_twice(whole, saved):
    state = load_file(saved / "model.safetensors")
    anchors = sum(len(pretrained(name).state_dict()) for name in ZOO)
    layers = sum(len(family.layers.state_dict()) for family in whole.families.values())
    statistics = sum(
        len(own) for family in whole.families.values() for own in family.statistics.values()
    )
    assert len(state) == anchors + layers + statistics
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    weights = sum(t.numel() for n, t in state.items() if n.rpartition(".")[2] not in buffers)
    assert weights == sum(p.numel() for p in whole.parameters())


def test_blocks_are_shared(whole):
    parameters = list(whole.parameters())
    assert len({id(p) for p in parameters}) == len(parameters)
    anchors, layers = whole.parameter_groups()
    assert len(anchors) + len(layers) == len(parameters)
    for name, network in whole.anchors.items():
        for pair, family in whole.families.items():
            for role, side in zip(pair, (family.source, family.target)):
                if role == name:
                    assert [id(p) for p in side.parameters()] == [
                        id(p) for p in network.parameters()
                    ]


def test_the_table_has_what_each_network_costs(whole):
    for member in whole.members:
        network = whole.extract(member.name)
        size = whole.anchors[member.source].info.transform.input_size
        assert member.macs == count_macs(network, torch.empty(1, *size, device="meta")).macs
        assert member.params == sum(p.numel() for p in network.parameters())
    costs = [member.macs for member in whole.members]
    assert costs == sorted(costs)


def test_a_budget_takes_the_most_accurate_that_it_can_pay():
    stitch = "digits_vit_tiny:3-digits_vit_base:4"
    network = elastic(tier="tuned", accuracy={TINY: {"tuned": 0.7}, stitch: {"tuned": 0.6}})
    assert network.use(macs=4_000_000).member.name == TINY
    network.note_accuracy("trained", {stitch: 0.9, TINY: 0.8})
    assert network.use(macs=10_000_000).member.source_block == 3
    assert network.use(params=4_000).member.name == TINY
    with pytest.raises(SelectionError, match="cheapest, digits_vit_tiny, costs 55,168"):
        network.use(macs=10)
    with pytest.raises(SelectionError, match="no latencies are known"):
        network.use(ms=1)
    network.measure_latency()
    assert network.use(ms=1e6).member.source_block == 3
    assert all(member.latency["ms"] > 0 for member in network.members)


@pytest.mark.parametrize("given", [{}, {"name": TINY, "macs": 3}, {"macs": 1e9, "ms": 3}])
def test_one_thing_names_a_member(whole, given):
    with pytest.raises(SelectionError, match="a member's name, or one of"):
        whole.use(**given)


def test_a_member_that_is_not_there(whole):
    for call in (whole.use, whole.extract, whole.viewer):
        with pytest.raises(SelectionError, match="no member 'nobody'"):
            call("nobody")


def test_sampling_reaches_everybody_as_often_as_the_others(whole):
    generator = np.random.default_rng(0)
    drawn = Counter(whole.sample(generator).member.name for _ in range(2_200))
    assert drawn.keys() == set(names(whole))
    assert max(drawn.values()) < 1.4 * min(drawn.values())


def test_moving_and_changing_type_takes_the_statistics_along():
    network = elastic()
    before = outputs(network)
    network.double()
    with torch.no_grad():
        for name, expected in before.items():
            actual = network.use(name)(images().double())
            assert actual.dtype == torch.float64
            assert torch.allclose(actual.float(), expected, atol=1e-4)


def test_training_reaches_every_members_blocks():
    network = elastic().train()
    assert all(
        module.training for family in network.families.values() for module in family.modules()
    )
    network.use("digits_vit_tiny:1-digits_convnet:1")(images(8)).sum().backward()
    used = {id(p) for p in network.extract("digits_vit_tiny:1-digits_convnet:1").parameters()}
    assert len(used) == sum(p.grad is not None for p in network.parameters())
    network.eval()
    assert not any(m.training for family in network.families.values() for m in family.modules())


def test_pictures_are_prepared_as_the_source_takes_them(whole):
    picture = Image.new("RGB", (40, 30), (200, 10, 10))
    for name in (TINY, "digits_vit_tiny:3-digits_vit_base:4"):
        image = whole.use(name).prepare(picture)
        assert image.shape == pretrained(TINY).info.transform.input_size
        assert torch.equal(whole.extract(name).prepare(picture), image)


# -- what is saved ----------------------------------------------------------------------------


def test_the_table_class_names_and_tier_come_back(whole, saved):
    again = klas.load(saved)
    assert again.members == whole.members
    assert (again.class_names, again.tier, again.task) == (tuple("0123456789"), "tuned", whole.task)
    assert again.extract(TINY).class_names == again.class_names


def test_the_card_has_a_row_for_every_member_and_its_picture():
    known = {name: {"tuned": 0.5 + k / 100} for k, name in enumerate(names(elastic()))}
    network = elastic(tier="tuned", accuracy=known)
    files = model_card(network.document())
    text = files["README.md"].decode()
    for member in network.members:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{member.name}` |"))
        assert f"{member.params:,}" in row
        assert f"{100 * known[member.name]['tuned']:.1f} %" in row
    assert "tradeoff.svg" in text
    assert files["tradeoff.svg"].decode().count("<title>") == len(network.members)
    without = model_card(elastic().document())
    assert without.keys() == {"README.md"}


def test_a_folder_with_a_network_is_not_written_over(whole, saved):
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    with pytest.raises(StoreError, match="holds a network already"):
        whole.save(saved)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before


def test_a_save_that_fails_leaves_no_network(whole, tmp_path, monkeypatch):
    def full(path, data):
        raise StoreError("the disk is full")

    monkeypatch.setattr(writing, "write_whole", full)
    with pytest.raises(StoreError):
        whole.save(tmp_path / "new")
    with pytest.raises(FormatError, match="a saved network is a folder with this file"):
        klas.load(tmp_path / "new")


@pytest.fixture
def copy(saved, tmp_path):
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_one_changed_byte_is_noticed(copy, file, at):
    data = bytearray((copy / file).read_bytes())
    data[int(at * len(data))] ^= 1
    (copy / file).write_bytes(data)
    with pytest.raises(FormatError, match=file.replace(".", r"\.")):
        klas.load(copy)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0, 0.5, 0.99, None])
def test_a_folder_that_is_cut_off_is_refused(copy, file, share):
    if share is None:
        (copy / file).unlink()
    else:
        os.truncate(copy / file, int(share * (copy / file).stat().st_size))
    with pytest.raises(FormatError, match=file.replace(".", r"\.")):
        klas.load(copy)


def resign(folder, change):
    """Change a document as somebody would who signs it again."""
    document = json.loads((folder / "config.json").read_text())
    change(document)
    (folder / "config.json").write_text(json.dumps(writing.signed(document)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["members"][1].update(macs=1), "is stated with 1 MACs"),
        (lambda d: d["members"].pop(), "its members are not those"),
        (lambda d: d["members"][1].update(source="nobody"), "is not one of its anchors"),
        (lambda d: stitched(d).update(source_block=9), "source_block 9 of"),
        (lambda d: stitched(d).update(target_block=None), "target_block None of"),
        (lambda d: stitched(d).update(source_block=2), "its layer's tensors|its members"),
        (lambda d: d["anchors"][0].update(model="no_such_model"), "timm has no model"),
        (
            lambda d: d["anchors"][0]["arguments"].update(checkpoint_path="/etc/passwd"),
            "no argument",
        ),
        (lambda d: d["anchors"][0]["arguments"].update(pretrained=True), "no argument"),
        (lambda d: d["anchors"][0]["arguments"].update(nonsense=1), "timm cannot make"),
        (lambda d: d["anchors"][0]["arguments"].update(num_classes=7), "classes is another one"),
        (lambda d: d["anchors"][0].update(cuts=["a", "b"]), "cuts is another one here"),
        (lambda d: d["anchors"][0].update(columns=[99]), "column 99 is stated"),
        (lambda d: d["weights"].update(name="../x"), "at \\$.weights.name"),
        (lambda d: d.update(format="klas-scores"), "not a klas-elastic file"),
        (lambda d: d.update(version=2), "newer klas"),
        (lambda d: d.update(extra=1), "extra"),
    ],
)
def test_what_a_stranger_signs_is_checked(copy, change, words):
    resign(copy, change)
    with pytest.raises(KlasError, match=words):
        klas.load(copy)


def arguments(document):
    return document["anchors"][0]["arguments"]


def stitched(document):
    return next(m for m in document["members"] if m["target"] == BASE and m["source"] == TINY)


def test_code_is_run_only_where_it_is_allowed(copy):
    resign(copy, lambda d: d["anchors"][0].update(model="os:getcwd", arguments=None))
    with pytest.raises(AnchorError, match="--allow-code"):
        klas.load(copy)


# -- from a stitch list -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline(computed):
    return Pipeline(SMALL, computed[0], device="cpu")


@pytest.mark.parametrize("tier", ["zero_shot", "tuned", "finetuned"])
def test_the_networks_of_a_list_have_their_stated_accuracies(pipeline, computed, tmp_path, tier):
    made = export(pipeline, computed, tmp_path, tier)
    network = elastic_of_list(tmp_path / "s.json")
    assert network.tier == tier
    stated = {(s["source_block"], s["target_block"]): s["accuracy"][tier] for s in made["stitches"]}
    for member in network.members:
        if member.target is not None:
            expected = stated[member.source_block, member.target_block]
            assert member.accuracy[tier] == expected
            assert measured(pipeline, network.use(member.name), member.source) == expected
    assert network.class_names == tuple("0123456789")


def test_a_list_of_all_pairs_shares_its_anchors(pipeline, computed, tmp_path):
    pairs = pairs_of(computed[1])
    chosen = [choose(pair, SMALL.selection).chosen for pair in pairs]
    picked = [(pair, these, None) for pair, these in zip(pairs, chosen)]
    weights = save_layers(pipeline, picked, "tuned", tmp_path / "w.safetensors")
    made = stitch_list(computed[1], SMALL.selection, pairs=pairs, weights_file=weights)
    write(made, tmp_path / "s.json")
    network = elastic_of_list(tmp_path / "s.json")
    assert len(network.members) == len(made["stitches"]) + len(made["anchors"])
    accuracy = {
        (s["source"], s["source_block"], s["target"], s["target_block"]): s["accuracy"]["tuned"]
        for s in made["stitches"]
    }
    for member in network.members:
        if member.target is None:
            expected = next(a["accuracy"] for a in made["anchors"] if a["name"] == member.name)
        else:
            key = (member.source, member.source_block, member.target, member.target_block)
            expected = accuracy[key]
        assert measured(pipeline, network.use(member.name), member.source) == expected


def test_pairs_that_were_trained_each_with_its_own_anchors_share_nothing(
    pipeline, computed, tmp_path
):
    pairs = pairs_of(computed[1])[:2]
    chosen = [choose(pair, SMALL.selection).chosen for pair in pairs]
    for pair, these in zip(pairs, chosen):
        pipeline.finetune(pair, these)
    picked = [(pair, these, None) for pair, these in zip(pairs, chosen)]
    weights = save_layers(pipeline, picked, "finetuned", tmp_path / "w.safetensors")
    write(
        stitch_list(computed[1], SMALL.selection, pairs=pairs, weights_file=weights),
        tmp_path / "s.json",
    )
    with pytest.raises(SelectionError, match="share no blocks; train them together"):
        elastic_of_list(tmp_path / "s.json")


def test_a_family_alone_moves_with_its_statistics_whichever_member_is_in_use():
    family = elastic({(TINY, CONVNET): [(1, 1), (2, 3)]}).families[TINY, CONVNET]
    with torch.no_grad():
        before = {m: family.use(m)(images()) for m in (*family.places, "source", "target")}
        family.use((2, 3)).double()
        for member, expected in before.items():
            actual = family.use(member)(images().double())
            assert torch.allclose(actual.float(), expected, atol=1e-4)
