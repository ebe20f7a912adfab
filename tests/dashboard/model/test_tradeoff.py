"""What the trade-off shows, against slow and obvious versions."""

import copy
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.model.tradeoff import (
    Curve,
    Limits,
    Sheet,
    clamped,
    curves,
    heights,
    inside,
    limits,
    steps,
    within,
)
from klas.results.costs import MILLISECONDS, Costs, Timings
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.study import METRICS, SETS, change
from tests.conftest import SMALL, method_choice, method_envelope


@pytest.fixture(scope="module", params=[0, 3])
def sheet(request, computed):
    return Sheet(pair=pairs_of(computed[1])[request.param])


def made(values, anchors=()):
    named = {str(k): a for k, a in enumerate(anchors)}
    return Costs(name="latency", stitches=np.array(values, float), anchors=named, unit=MILLISECONDS)


def timings(pair):
    count = len(pair.macs)
    median = np.linspace(1, 2, count)
    return Timings(
        machine={"device": "a <b>chip</b>", "threads": 2, "torch": "1"},
        median=median,
        low=median - 0.1,
        high=median + 0.2,
        anchors=dict.fromkeys(pair.names, 1.5),
        passes=np.full(count, 7),
    )


def test_costs_are_the_documents_and_the_machines(sheet):
    pair = sheet.pair
    assert list(sheet.costs) == ["macs", "params"]
    assert sheet.costs["macs"].stitches.tolist() == pair.macs.tolist()
    raw = pair.raw["candidates"]
    assert sheet.costs["params"].stitches.tolist() == [c["params"] for c in raw]
    assert sheet.costs["params"].anchors[pair.names[0]] == pair.source["params"]
    timed = Sheet(pair=pair, timings=timings(pair))
    assert timed.costs["latency"].stitches is timed.timings.median
    assert timed.costs["latency"].unit.name == "ms"
    assert "parameters<br>1 ms a forward pass (0.9 to 1.2)<br>" in timed.facts[0]
    assert "forward pass" not in sheet.facts[0]


def test_the_hover_explains_every_number(sheet):
    pair, words = (
        sheet.pair,
        re.compile(
            r"Γ = Ω / Σ = (.+)<br>Ω = (.+) nats: source probe (\d+) ‖ target probe (\d+)<br>"
            r"Σ = (.+) nats: .+<br>.+ MMACs, (.+) parameters<br>zero_shot (.+) %, tuned (.+) %"
        ),
    )
    for row, (i, j) in enumerate(pair.stitches.tolist()):
        gamma, omega, *probes, sigma, params, zero_shot, tuned = words.fullmatch(
            sheet.facts[row]
        ).groups()
        assert float(gamma) == pytest.approx(float(omega) / float(sigma), rel=1e-2)
        assert float(omega) == pytest.approx(pair.raw["theta"][i][j], rel=1e-3)
        assert probes == [str(i), str(j)]
        assert params == f"{pair.raw['candidates'][row]['params']:,}"
        assert float(zero_shot) == pytest.approx(100 * pair.accuracy("zero_shot")[row], abs=0.1)
        assert float(tuned) == pytest.approx(100 * pair.accuracy("tuned")[row], abs=0.1)


@pytest.mark.parametrize("own", ["kl", "cka", "random"])
def test_a_rival_takes_in_every_bucket_as_many_as_the_chosen_score(sheet, own):
    pair = sheet.pair
    spec = change(SMALL, "selection", metric=own, tau=0.3).selection
    picked = choose(pair, spec)
    drawn, *missing = curves(pair, picked, own, METRICS, lambda m, c: sheet.accuracy["tuned"])
    assert missing == [[], []]
    assert {c.metric for c in drawn} == {m for m in METRICS if m != "snnet" or pair.snnet.any()}
    for metric, chosen, accuracy in drawn:
        assert accuracy is sheet.accuracy["tuned"]
        if metric == own:
            assert chosen.tolist() == picked.chosen.tolist()
        elif metric in SETS:
            assert chosen.tolist() == method_choice(pair, spec, metric).tolist()
            assert metric != "snnet" or chosen.tolist() == pair.snnet.tolist()
        else:
            scores, expected = pair.scores(metric), set()
            for b in range(spec.buckets):
                rows = np.flatnonzero(picked.bucket == b)
                count = int(picked.chosen[rows].sum())
                expected |= set(sorted(rows, key=lambda r: scores[r])[:count])
            assert set(np.flatnonzero(chosen)) == expected
            if own == "kl":
                assert chosen.tolist() == method_choice(pair, spec, metric).tolist()


def test_what_is_not_measured_is_named_and_not_drawn(sheet):
    pair = sheet.pair
    picked = choose(pair, SMALL.selection)
    measured = {picked.chosen.tobytes(): sheet.accuracy["tuned"]}
    drawn, unscored, missing = curves(
        pair, picked, "kl", ["kl", "cka", "random"], lambda m, c: measured.get(c.tobytes())
    )
    assert drawn[0].metric == "kl"
    assert {c.metric for c in drawn} | set(missing) == {"kl", "cka", "random"}
    assert "random" in missing
    assert not unscored
    holed = sheet.accuracy["tuned"].copy()
    holed[np.flatnonzero(picked.chosen)[0]] = np.nan
    assert curves(pair, picked, "kl", ["kl"], lambda m, c: holed) == ([], [], ["kl"])


def test_of_a_race_what_it_kept_is_drawn_and_nothing_before_it_is_run(sheet):
    pair, own = sheet.pair, "cka"
    picked = choose(pair, change(SMALL, "selection", metric=own).selection)
    starts = method_choice(pair, SMALL.selection, "race")
    assert curves(pair, picked, own, ["race"], lambda m, c: None) == ([], [], ["race"])
    kept = starts & (np.cumsum(starts) % 2 == 0)
    trained = np.where(kept, 0.5, np.nan)
    asked = []
    drawn, *missing = curves(
        pair, picked, own, ["race"], lambda m, c: asked.append((m, c.tolist())) or trained
    )
    assert asked == [("race", starts.tolist())]
    assert [(c.metric, c.chosen.tolist()) for c in drawn] == [("race", kept.tolist())]
    assert missing == [[], []]


def test_a_score_that_is_not_computed_is_missing(computed):
    document = copy.deepcopy(computed[1])
    for candidate in document["pairs"][0]["candidates"]:
        candidate["scores"]["dm"] = None
    pair = pairs_of(document)[0]
    picked = choose(pair, SMALL.selection)
    _, *missing = curves(pair, picked, "kl", ["kl", "dm"], lambda m, c: pair.accuracy("tuned"))
    assert missing == [["dm"], []]


def test_a_range_leaves_what_lies_in_it(sheet):
    costs = sheet.costs["macs"]
    shown = costs.stitches / costs.unit.scale
    low, high = np.quantile(shown, (0.3, 0.7))
    kept = inside(costs, (low, high), 0.001)
    assert kept.tolist() == [low - 1e-9 <= c <= high + 1e-9 for c in shown]
    curve = Curve("kl", sheet.pair.in_space, sheet.accuracy["tuned"])
    assert within(curve, kept).chosen.tolist() == (sheet.pair.in_space & kept).tolist()


def test_a_cost_that_is_not_known_lies_in_no_range():
    assert inside(made([1.0, np.nan]), (0.0, 9.0), 0.1).tolist() == [True, False]


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20),
    st.lists(st.floats(1e-6, 1e6), max_size=2),
)
def test_the_sliders_ends_take_in_every_network_on_round_steps(values, anchors):
    ends = limits(made(values, anchors))
    every = [*values, *anchors]
    assert ends.low <= min(every) * (1 + 1e-9)
    assert ends.high >= max(every) * (1 - 1e-9)
    assert inside(made(values, anchors), (ends.low, ends.high), ends.step).all()
    assert min(abs(float(f"{ends.step:e}".split("e")[0]) - r) for r in (1, 2, 5)) < 1e-6
    assert 0.999 < (ends.high - ends.low) / ends.step < 110


def test_without_a_known_cost_the_slider_has_ends_all_the_same():
    assert limits(made([np.nan])) == Limits(0.0, 1.0, 0.01)


@pytest.mark.parametrize(
    ("asked", "cut"),
    [
        (None, (1.0, 5.0)),
        ((2.0, 3.0), (2.0, 3.0)),
        ((0.0, 3.0), (1.0, 3.0)),
        ((2.0, 9.0), (2.0, 5.0)),
        ((6.0, 9.0), (1.0, 5.0)),
    ],
)
def test_a_range_is_cut_to_the_slider(asked, cut):
    assert clamped(asked, Limits(1.0, 5.0, 0.1)) == cut


def test_the_envelope_over_macs_is_the_methods_own(sheet):
    pair = sheet.pair
    curve = Curve("kl", choose(pair, SMALL.selection).chosen, sheet.accuracy["tuned"])
    ours = steps(sheet.costs["macs"], pair, curve)
    theirs = method_envelope(pair, curve.chosen, curve.accuracy)
    assert ours.costs.tolist() == theirs.costs.tolist()
    assert ours.accuracies.tolist() == theirs.accuracies.tolist()


def test_the_envelope_over_time_takes_the_best_that_is_quick_enough(sheet):
    timed = Sheet(pair=sheet.pair, timings=timings(sheet.pair))
    accuracy = timed.accuracy["tuned"]
    curve = Curve("kl", sheet.pair.in_space, accuracy)
    actual = steps(timed.costs["latency"], timed.pair, curve)
    times = timed.timings.median
    anchors = [a["accuracy"] for a in timed.pair.cheap_and_costly]
    for limit in (1.0, 1.3, 1.5, 3.0):
        able = accuracy[sheet.pair.in_space & (times <= limit)].tolist()
        able += anchors if limit >= 1.5 else []
        assert actual.at(limit) == max(able)


@pytest.mark.parametrize("tier", ["zero_shot", "tuned"])
def test_the_accuracy_axis_does_not_hang_on_the_choice(sheet, tier):
    accuracy = sheet.accuracy[tier]
    whole = Curve("kl", sheet.pair.in_space, accuracy)
    none = Curve("kl", np.zeros_like(sheet.pair.in_space), accuracy)
    low, high = heights(sheet, tier, [whole])
    assert (low, high) == heights(sheet, tier, [none]) == heights(sheet, tier, [])
    every = [*accuracy, *(a["accuracy"] for a in sheet.pair.measured_anchors)]
    assert low < 100 * min(every) <= 100 * max(every) < high


def test_of_joint_training_the_axis_lies_about_the_anchors_and_takes_in_what_is_drawn(sheet):
    anchors = sorted(a["accuracy"] for a in sheet.pair.measured_anchors)
    low, high = heights(sheet, "finetuned", [])
    assert low < 100 * (2 * anchors[0] - anchors[1]) < 100 * anchors[1] < high
    bad = np.full(len(sheet.pair.macs), 0.01)
    low, _ = heights(sheet, "finetuned", [Curve("kl", sheet.pair.in_space, bad)])
    assert low < 1.0
