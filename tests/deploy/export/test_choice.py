"""Which member is exported: of a list of the small study, and of what is saved from it."""

from pathlib import Path

import pytest
import torch

import klas
from klas.deploy.export.choice import Wanted, chosen_network, pick
from klas.deploy.member import Member
from klas.deploy.weights_file import save_layers
from klas.errors import FormatError, SelectionError
from klas.pipeline.run import Pipeline
from klas.results.formats import read, write
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.results.stitch_list import stitch_list
from tests.conftest import SMALL

WHERE = Path("list.json")


def member(name, macs, **accuracy):
    return Member(name=name, source=name, macs=macs, params=macs // 2, accuracy=accuracy)


MEMBERS = [
    member("a", 10, zero_shot=0.5, tuned=0.6, finetuned=0.7),
    member("b", 20, zero_shot=0.4, tuned=0.8, finetuned=0.6),
    member("c", 30, zero_shot=0.6, tuned=0.7),
]


@pytest.mark.parametrize(
    ("wanted", "weights", "name"),
    [
        (Wanted(member="b"), "tuned", "b"),
        (Wanted(index=2), "tuned", "c"),
        (Wanted(budget=("macs", 30)), "tuned", "b"),
        (Wanted(budget=("macs", 30)), "zero_shot", "c"),  # of the weights that are exported
        (Wanted(budget=("macs", 30)), "finetuned", "b"),  # not all have that: tuned is the best
        (Wanted(budget=("macs", 30), tier="finetuned"), "tuned", "a"),
        (Wanted(budget=("macs", 19.9)), "tuned", "a"),
        (Wanted(budget=("params", 10)), "tuned", "b"),
    ],
)
def test_the_member_that_is_wanted(wanted, weights, name):
    assert pick(MEMBERS, wanted, weights, WHERE).name == name


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(), r"list\.json: has 3 members; say which by --member NAME, --index N, or a bu"),
        (Wanted(member="d"), r"list\.json: has no member 'd'; there are 'a', 'b', 'c'"),
        (Wanted(index=3), "has members 0 to 2, but member 3 was asked for"),
        (Wanted(index=-1), "has members 0 to 2, but member -1 was asked for"),
        (Wanted(budget=("macs", 9)), "more than 9 MACs; the cheapest, a, costs 10"),
        (Wanted(budget=("params", 1)), "more than 1 parameters; the cheapest, a, costs 5"),
        *[
            (Wanted(budget=(of, float("nan"))), "a budget of nan")
            for of in ("macs", "params", "ms")
        ],
        (Wanted(budget=("macs", 9), tier="full"), "no member has an accuracy of tier full"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(wanted, words):
    with pytest.raises(SelectionError, match=words):
        pick(MEMBERS, wanted, "tuned", WHERE)


@pytest.fixture(scope="module")
def listed(computed, tmp_path_factory):
    """A list of one pair's stitches with its weights of tier tuned."""
    folder = tmp_path_factory.mktemp("list")
    pipeline = Pipeline(SMALL, computed[0], device="cpu")
    pair = pairs_of(computed[1])[1]
    chosen = choose(pair, SMALL.selection).chosen
    weights = save_layers(pipeline, [(pair, chosen, None)], "tuned", folder / "w.safetensors")
    made = stitch_list(computed[1], SMALL.selection, pairs=[pair], weights_file=weights)
    write(made, folder / "l.json")
    return folder / "l.json"


def same(network, other):
    x = torch.randn(3, *network.transform.input_size)
    with torch.no_grad():
        return torch.equal(network(x), other(x))


def test_a_stitch_of_a_list_by_number_and_by_name(listed):
    numbered = chosen_network(listed, Wanted(index=1))
    entry = read(listed, "klas-stitches")["stitches"][1]
    assert numbered.member.macs == entry["macs"]
    assert numbered.name == (
        f"{entry['source']}:{entry['source_block']}-{entry['target']}:{entry['target_block']}"
    )
    assert numbered.class_names == tuple("0123456789")
    assert same(numbered, chosen_network(listed, Wanted(member=numbered.name)))
    assert same(numbered, klas.load_stitch(listed, 1))
    with pytest.raises(FormatError, match="but stitch 99 was asked for"):
        chosen_network(listed, Wanted(index=99))


def test_an_anchor_of_a_list_is_the_pretrained_one(listed):
    entry = read(listed, "klas-stitches")["anchors"][0]
    network = chosen_network(listed, Wanted(member=entry["name"]))
    assert network.tier is None
    assert network.member.accuracy["tuned"] == entry["accuracy"]
    assert sum(p.numel() for p in network.parameters()) == entry["params"]


def test_a_budget_takes_the_most_accurate_of_stitches_and_anchors(listed):
    document = read(listed, "klas-stitches")
    rows = [(s["macs"], s["accuracy"]["tuned"]) for s in document["stitches"]]
    rows += [(a["macs"], a["accuracy"]) for a in document["anchors"]]
    for budget in (rows[0][0], rows[2][0], 1e12):
        best = max(accuracy for macs, accuracy in rows if macs <= budget)
        member = chosen_network(listed, Wanted(budget=("macs", budget))).member
        assert member.macs <= budget
        assert member.accuracy["tuned"] == best


def test_a_budget_of_time_is_measured_here(listed):
    assert chosen_network(listed, Wanted(budget=("ms", 1e9))).member.accuracy["tuned"] == max(
        chosen_network(listed, Wanted(budget=("macs", 1e12))).member.accuracy.values()
    )
    with pytest.raises(SelectionError, match=r"more than 1e-06 ms; the cheapest, \S+, costs"):
        chosen_network(listed, Wanted(budget=("ms", 1e-6)))


def test_a_member_of_a_saved_folder(listed, tmp_path):
    elastic = klas.elastic_of_list(listed)
    elastic.save(tmp_path / "all")
    stitch = next(m for m in elastic.members if m.target is not None)
    network = chosen_network(tmp_path / "all", Wanted(member=stitch.name))
    assert same(network, elastic.extract(stitch.name))
    by_cost = chosen_network(tmp_path / "all", Wanted(budget=("macs", stitch.macs)))
    assert by_cost.member.macs <= stitch.macs

    network.save(tmp_path / "one")
    assert same(network, chosen_network(tmp_path / "one", Wanted()))
    assert same(network, chosen_network(tmp_path / "one", Wanted(member=network.name)))
    with pytest.raises(SelectionError, match=r"holds one network, .*; leave --member, --index"):
        chosen_network(tmp_path / "one", Wanted(budget=("macs", 1e9)))
