"""A comparison read: its parts, and why its figures are alike."""

import copy

import pytest

from klas.cli.tables.comparison import comparison_tables
from klas.results.comparison_view import (
    anchors_at,
    below_cheap_anchor,
    chosen_at,
    chosen_of,
    entry_of,
    methods_of,
    split_of,
)
from klas.results.formats import read, write
from klas.results.formatting import METHODS
from klas.study import METRICS, TIERS


@pytest.fixture
def comparison(comparison):
    """One's own, to change."""
    return copy.deepcopy(comparison)


def flatten(comparison, pair, tier="tuned"):
    """Every chosen stitch of a pair as good as its cheap anchor; the costly one is better."""
    ends = (pair["source"], pair["target"])
    anchors = sorted(
        (a for a in comparison["anchors"] if a["name"] in ends), key=lambda a: a["macs"]
    )
    for split in ("val", "test"):
        for anchor, value in zip(anchors, (0.5, 0.9)):
            anchor[split] = {"value": value, "low": value, "high": value}
    for stitches in pair["chosen"].values():
        for stitch in stitches:
            stitch["accuracy"][tier] = 0.5
            stitch["macs"] = max(stitch["macs"], anchors[0]["macs"])
    return anchors


def test_a_pair_is_found_by_its_names(comparison):
    for pair in comparison["pairs"]:
        assert entry_of(comparison, (pair["source"], pair["target"])) is pair
        assert entry_of(comparison, (pair["target"], pair["source"])) is not pair
    assert entry_of(comparison, ("digits_vit_base", "digits_vit_base")) is None


def test_a_chart_has_what_was_measured_on_the_split_that_judges_its_tier(comparison):
    assert comparison["finetuned_on"] == "test"
    pair = comparison["pairs"][1]
    cheap, costly = flatten(comparison, pair)
    cheap["test"] = {"value": 0.4, "low": 0.4, "high": 0.4}
    costly["val"] = None
    assert [split_of(comparison, tier) for tier in TIERS] == ["val", "val", "test"]
    assert anchors_at(comparison, pair, "tuned") == [(cheap["name"], cheap["macs"], 0.5)]
    assert anchors_at(comparison, pair, "finetuned") == [
        (cheap["name"], cheap["macs"], 0.4),
        (costly["name"], costly["macs"], 0.9),
    ]
    macs, top1 = chosen_at(pair, "kl", "tuned")
    assert [*macs] == [stitch["macs"] for stitch in pair["chosen"]["kl"]]
    assert {*top1} == {0.5}
    assert all(part.size == 0 for part in chosen_at(pair, "kl", "finetuned"))


def test_stitches_below_the_cheap_anchor_are_why_figures_are_alike(comparison):
    pair = comparison["pairs"][1]
    cheap, costly = flatten(comparison, pair)
    said = below_cheap_anchor(comparison, [pair], "tuned")
    assert said.startswith("At tier tuned all chosen stitches lie below the cheap anchor")
    twice = below_cheap_anchor(comparison, [pair, pair], "tuned")
    assert "in all 2 pairs" in twice
    other = copy.deepcopy(pair)
    other["chosen"]["dm"][0]["accuracy"]["tuned"] = 0.51
    assert below_cheap_anchor(comparison, [other], "tuned") is None
    assert "in 1 of 2 pairs" in below_cheap_anchor(comparison, [pair, other], "tuned")
    assert below_cheap_anchor(comparison, [pair], "finetuned") is None  # nothing is trained
    cheap["val"]["value"] = 0.95  # then there is no area at all
    assert below_cheap_anchor(comparison, [pair], "tuned") is None
    costly["val"] = None
    assert below_cheap_anchor(comparison, [pair], "tuned") is None


def test_a_stitch_cheaper_than_both_anchors_has_a_saving_of_its_own(comparison):
    pair = comparison["pairs"][1]
    cheap, _ = flatten(comparison, pair)
    pair["chosen"]["snnet"][0]["macs"] = cheap["macs"] - 1
    assert below_cheap_anchor(comparison, [pair], "tuned") is None


def test_what_the_sentence_says_is_so(comparison):
    """The small study's stitches are poor."""
    told = 0
    for pair in comparison["pairs"]:
        every = [method["tuned"] for method in pair["methods"].values() if method["tuned"]]
        alike = all(
            abs(curve[name]["value"] - value) < 1e-12
            for curve in every
            for name, value in (("auc", 0), ("gain", 0), ("saving", 1))
            if curve.get(name) is not None
        )
        said = below_cheap_anchor(comparison, [pair], "tuned")
        assert alike or said is None
        told += said is not None
    assert told


def test_who_would_start_in_a_race_is_in_no_curve_of_another_tier(comparison):
    pair = comparison["pairs"][1]
    flatten(comparison, pair)
    starts = pair["chosen"]["race"]
    assert starts
    assert all(part.size == 0 for part in chosen_at(pair, "race", "tuned"))
    starts[0]["accuracy"]["tuned"] = 0.99  # better than all that is compared there
    assert below_cheap_anchor(comparison, [pair], "tuned") is not None
    for stitch in starts:
        stitch["accuracy"]["finetuned"] = 0.75
    macs, top1 = chosen_at(pair, "race", "finetuned")
    assert [*macs] == [stitch["macs"] for stitch in starts]
    assert {*top1} == {0.75}


@pytest.mark.parametrize("lacking", ["race", "theta_ce"])
def test_a_comparison_from_before_a_method_is_read(comparison, tmp_path, lacking):
    for part in (*comparison["pairs"], comparison["all_pairs"]):
        for place in ("chosen", "methods"):
            part.get(place, {}).pop(lacking, None)
    write(comparison, tmp_path / "c.json")
    older = read(tmp_path / "c.json", "klas-comparison")
    assert lacking not in methods_of(older["all_pairs"])
    for pair in older["pairs"]:
        assert [*methods_of(pair)] == [*chosen_of(pair)] == [m for m in METRICS if m != lacking]
        assert chosen_at(pair, lacking, "finetuned")[0].size == 0
    tables = [part for part in comparison_tables(older) if hasattr(part, "columns")]
    assert tables
    for table in tables:
        methods = [*table.columns[0].cells]
        assert METHODS["snnet"] in methods
        assert METHODS[lacking] not in methods
