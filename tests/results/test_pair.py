import copy

import numpy as np
import pytest

from klas.cli.tables.study import anchor_tables
from klas.results.costs import above_anchors, costs_of, envelope_along
from klas.results.pair import Choice, Pair, front, method_areas, pairs_of
from klas.results.selections import choose
from klas.study import METRICS, SETS
from tests.conftest import SMALL


def test_above_the_anchors_means_strictly_above_every_cheaper_one(computed):
    pair = pairs_of(computed[1])[0]
    cheap, costly = pair.cheap_and_costly
    chosen = np.ones(len(pair.macs), dtype=bool)
    level = np.full(len(pair.macs), cheap["accuracy"])
    assert not above_anchors(costs_of(pair, "macs"), pair, chosen, level).any()
    between = pair.macs < costly["macs"]
    assert (above_anchors(costs_of(pair, "macs"), pair, chosen, level + 1e-6) == between).all()
    assert not above_anchors(
        costs_of(pair, "macs"), pair, chosen, np.full(len(level), np.nan)
    ).any()


def test_envelope_and_areas_agree(computed):
    pair = pairs_of(computed[1])[1]
    picked = choose(pair, SMALL.selection).chosen
    accuracy = pair.accuracy("tuned")
    curve = envelope_along(costs_of(pair, "macs"), pair, picked, accuracy)
    assert curve.accuracies[-1] >= pair.target["accuracy"]
    actual = method_areas(pair, picked, accuracy)
    assert actual.mean_top1 == pytest.approx(accuracy[picked].mean())


def small_zoo():
    """Three anchors, two pairs, five stitches; costs and accuracies by hand."""
    anchors = [
        {"name": n, "macs": m, "accuracy": a}
        for n, m, a in [("a", 1, 0.5), ("b", 4, 0.7), ("c", 9, 0.9)]
    ]

    def pair(source, target, *stitches):
        rows = [{"source_block": i, "target_block": j, "macs": m} for i, j, m in stitches]
        return {"source": source, "target": target, "candidates": rows}

    return {
        "anchors": anchors,
        "pairs": [
            pair("a", "b", (1, 2, 2), (2, 1, 3), (3, 1, 3.5)),
            pair("b", "c", (1, 2, 5), (2, 2, 6)),
        ],
    }


def chosen_of(document, accuracies, chosen=None):
    return [
        Choice(
            pair=p,
            chosen=np.array(c, dtype=bool),
            accuracy=np.array(a, dtype=np.float64),
        )
        for p, a, c in zip(
            pairs_of(document), accuracies, chosen or [[1] * len(a) for a in accuracies]
        )
    ]


def test_the_front_holds_whatever_no_cheaper_network_equals():
    choices = chosen_of(small_zoo(), [[0.6, 0.6, 0.75], [0.74, 0.8]])
    assert [(p.name, p.stitch, p.macs, p.accuracy) for p in front(choices)] == [
        ("a", None, 1, 0.5),
        ("a → b", (1, 2), 2, 0.6),  # and not (2, 1), as good at more cost
        ("a → b", (3, 1), 3.5, 0.75),  # so neither the anchor b nor b → c's (1, 2)
        ("b → c", (2, 2), 6, 0.8),
        ("c", None, 9, 0.9),
    ]


def test_the_front_leaves_out_what_is_not_chosen_or_not_measured():
    choices = chosen_of(small_zoo(), [[0.6, np.nan, 0.75], [0.74, np.nan]], [[1, 1, 0], [1, 1]])
    assert [(p.name, p.stitch) for p in front(choices)] == [
        ("a", None), ("a → b", (1, 2)), ("b", None), ("b → c", (1, 2)), ("c", None),
    ]  # fmt: skip


def test_an_anchor_without_an_accuracy_is_not_on_the_front():
    document = small_zoo()
    document["anchors"][2]["accuracy"] = None
    choices = chosen_of(document, [[np.nan] * 3, [np.nan, 0.99]])
    assert [p.name for p in front(choices)] == ["a", "b", "b → c"]


def test_a_front_of_nothing_measured_is_empty():
    document = small_zoo()
    for anchor in document["anchors"]:
        anchor["accuracy"] = None
    assert front(chosen_of(document, [[np.nan] * 3, [np.nan] * 2])) == []


def test_a_headless_source_leaves_the_pair_its_stitches_and_the_target(computed):
    import copy

    document = copy.deepcopy(computed[1])
    pair = pairs_of(document)[0]
    cheap, costly = pair.cheap_and_costly
    next(a for a in document["anchors"] if a["name"] == cheap["name"])["accuracy"] = None
    document["pairs"][0]["theta_output"] = None
    pair = pairs_of(document)[0]
    chosen, accuracy = pair.in_space, pair.accuracy("tuned")
    curve = envelope_along(costs_of(pair, "macs"), pair, chosen, accuracy)
    assert curve.costs[0] > cheap["macs"]
    assert curve.at(costly["macs"]) >= costly["accuracy"]
    # Nothing to beat below the target's cost: every stitch that gets anything right is above.
    below = chosen & (pair.macs < costly["macs"]) & (accuracy > 0)
    assert (
        above_anchors(costs_of(pair, "macs"), pair, chosen, accuracy) & below
    ).sum() == below.sum()
    actual = method_areas(pair, chosen, accuracy)
    assert (actual.auc, actual.mean_top1) == (None, pytest.approx(accuracy[chosen].mean()))
    assert "no accuracy of its own" in actual.reason
    text = "".join(
        str(cell) for t in anchor_tables(document) for c in t.columns for cell in c.cells
    )
    assert "–" in text


def test_random_scores_depend_on_the_seed_and_the_pair_alone(computed):
    import copy

    pairs = pairs_of(computed[1])
    changed = copy.deepcopy(computed[1])
    for candidate in changed["pairs"][0]["candidates"]:
        candidate["scores"] = dict.fromkeys(candidate["scores"])
        candidate["accuracy"] = dict.fromkeys(candidate["accuracy"])
    changed["pairs"].reverse()
    assert (pairs_of(changed)[-1].scores("random") == pairs[0].scores("random")).all()
    changed["study"]["seed"] = 1
    assert not np.isin(pairs_of(changed)[-1].scores("random"), pairs[0].scores("random")).any()
    # Pairs with equally many candidates have draws of their own too.
    drawn = [pair.scores("random") for pair in pairs]
    assert all(not np.isin(a, b).any() for k, a in enumerate(drawn) for b in drawn[:k])
    assert all(((d >= 0) & (d < 1)).all() for d in drawn)


def test_an_older_document_has_what_its_own_scores_make(computed):
    older = copy.deepcopy(computed[1])
    for entry in older["pairs"]:
        for candidate in entry["candidates"]:
            del candidate["scores"]["theta_ce"]
    for pair, now in zip(pairs_of(older), pairs_of(computed[1]), strict=True):
        assert pair.scores("theta_ce") == pytest.approx(now.scores("theta_ce"), rel=1e-12)
        assert pair.is_scored("theta_ce")
    for candidate in older["pairs"][0]["candidates"]:  # nor is it there before the others are
        candidate["scores"] = dict.fromkeys(candidate["scores"])
    assert np.isnan(pairs_of(older)[0].scores("theta_ce")).all()


@pytest.mark.parametrize("metric", METRICS)
def test_a_pair_is_scored_once_its_stage_is_done_and_no_score_that_may_choose_lacks(
    computed, metric
):
    document = copy.deepcopy(computed[1])
    pair = Pair(document=document, index=0)
    assert pair.is_scored(metric)
    candidates = pair.raw["candidates"]
    gone = next(c for c in candidates if c["in_space"])
    gone["scores"] = dict.fromkeys(gone["scores"])
    # A pair reads its document once.
    assert Pair(document=document, index=0).is_scored(metric) == (metric in ("random", *SETS))
    gone["in_space"] = False
    assert Pair(document=document, index=0).is_scored(metric)
    document["pairs"][0]["theta"] = None
    assert not Pair(document=document, index=0).is_scored(metric)
