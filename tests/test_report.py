"""What the comparison says of itself: counts, and why figures are alike."""

import copy

import pytest
from rich.console import Console

from klas.comparison import compare
from klas.report import below_cheap_anchor, comparison_tables, tally, whole
from tests.conftest import SMALL


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((4, 3, 4), "4 [3, 4]"),
        ((4.0, 3.0, 5.5), "4 [3, 5.5]"),
        ((3.46, 2.96, 10), "3.5 [3, 10]"),
        ((-0.0, 0, 20), "0 [0, 20]"),
    ],
)
def test_whole_counts_have_no_decimals(ends, said):
    assert tally(dict(zip(("value", "low", "high"), ends))) == said
    assert tally(None) == "–"
    assert whole(10.0) == "10"


@pytest.fixture
def comparison(computed):
    store, document = computed
    return copy.deepcopy(compare(document, SMALL, store))


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


def test_the_command_says_it_once_a_tier(comparison):
    flatten(comparison, comparison["pairs"][1])
    said = [part for part in comparison_tables(comparison) if isinstance(part, str)]
    assert sum("lie below the cheap anchor" in part for part in said) == 1
    console = Console(width=200)
    with console.capture() as shown:
        console.print(*comparison_tables(comparison))
    kl = comparison["all_pairs"]["methods"]["kl"]
    assert f" {tally(kl['overlap'])} " in shown.get()
    assert f" {tally(kl['containment'])} " in shown.get()
