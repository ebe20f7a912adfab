import copy

import numpy as np
import pytest
from scipy.stats import binomtest

from dashboard.charts import comparison as charts
from dashboard.charts.methods import AT_FIRST, STYLES
from dashboard.charts.training_budgets import budget_chart
from dashboard.model.training_budgets import budgets_of
from klas.results.comparison_view import chosen_at, entry_of
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.selection.curves import envelope
from klas.study import METRICS, SETS
from klas.tasks.metric import TOP1
from tests.conftest import SMALL, method_choice, method_envelope
from tests.expected_text import METHODS


@pytest.fixture(scope="module")
def richest(computed):
    return max(pairs_of(computed[1]), key=lambda pair: pair.in_space.sum())


@pytest.fixture(scope="module")
def entry(comparison, richest):
    return entry_of(comparison, richest.names)


@pytest.fixture
def trained(comparison, entry):
    """The same comparison with made-up joint trainings of one pair."""
    actual = copy.deepcopy(comparison)
    place = comparison["pairs"].index(entry)
    rng = np.random.default_rng(0)
    for k, metric in enumerate(METRICS):
        for stitch in actual["pairs"][place]["chosen"][metric]:
            stitch["accuracy"]["finetuned"] = float(rng.uniform(0.5, 0.99))
        budgets = actual["pairs"][place]["methods"][metric]["budgets"]
        for b, steps in enumerate(budgets):
            value = 0.5 + 0.01 * k + 0.1 * b
            ends = {"value": value, "low": value - 0.02, "high": value + 0.03}
            budgets[steps] = {"mean_top1": ends, "auc_stitches": ends}
    return actual, actual["pairs"][place]


def trace(figure, name):
    (actual,) = [t for t in figure.data if t.name == name]
    return actual


def test_every_method_has_a_colour_and_a_shape_of_its_own():
    assert set(STYLES) == set(METRICS)
    for k in (0, 1):
        assert len({style[k] for style in STYLES.values()}) == len(METRICS)


def test_every_stitch_has_the_interval_of_its_accuracy(comparison, entry):
    figure = charts.curves_chart(comparison, entry, "tuned")
    (ours,) = [t for t in figure.data if t.name and t.name.startswith("KLAS (Γ) (")]
    samples = comparison["data"]["val"]["samples"]
    for stitch, up, down in zip(
        entry["chosen"]["kl"], ours.error_y.array, ours.error_y.arrayminus, strict=True
    ):
        top1 = stitch["accuracy"]["tuned"]
        actual = binomtest(round(top1 * samples), samples).proportion_ci(0.95, method="wilson")
        assert (up, down) == pytest.approx((100 * (actual.high - top1), 100 * (top1 - actual.low)))


@pytest.mark.parametrize("tier", ["zero_shot", "tuned"])
def test_curves_are_those_of_the_choices_themselves(comparison, richest, entry, tier):
    figure = charts.curves_chart(comparison, entry, tier)
    assert not [t for t in figure.data if t.name.startswith("race")]  # it has none at this tier
    for metric in (m for m in METRICS if m != "race"):
        chosen = method_choice(richest, SMALL.selection, metric)
        accuracy = richest.accuracy(tier)
        curve = method_envelope(richest, chosen, accuracy)
        line = trace(figure, f"{METHODS[metric]}: envelope")
        assert list(line.x[:-1]) == pytest.approx(list(curve.costs / richest.unit.scale))
        assert list(line.y[:-1]) == pytest.approx(list(100 * curve.accuracies))
        assert line.y[-1] == line.y[-2]
        points = trace(figure, f"{METHODS[metric]} ({chosen.sum()})")
        assert list(points.y) == pytest.approx(list(100 * accuracy[chosen]))
        assert [facts[0] for facts in points.customdata] == [
            f"{i} → {j}" for i, j in richest.places(chosen)
        ]
        # One entry of the legend switches both.
        assert points.legendgroup == line.legendgroup
        assert points.visible == line.visible
        assert (points.visible is True) == (metric in AT_FIRST)
    anchors = trace(figure, "anchors")
    assert list(anchors.text) == [a["name"] for a in richest.cheap_and_costly]
    assert list(anchors.y) == pytest.approx([100 * a["accuracy"] for a in richest.cheap_and_costly])


@pytest.mark.parametrize("tier", ["zero_shot", "tuned"])
def test_both_axes_hold_whatever_the_legend_switches_on(comparison, entry, tier):
    figure = charts.curves_chart(comparison, entry, tier)
    bottom, top = figure.layout.yaxis.range
    left, right = figure.layout.xaxis.range
    lows, highs = [], []
    for t in figure.data:
        assert left < min(t.x)
        assert max(t.x) < right
        bars = t.error_y.array is not None
        lows += list(np.array(t.y) - (t.error_y.arrayminus if bars else 0))
        highs += list(np.array(t.y) + (t.error_y.array if bars else 0))
    assert {t.visible for t in figure.data} > {True, "legendonly"}
    # Nothing is cut, and little is left empty.
    assert bottom < min(lows) < bottom + 0.1 * (top - bottom)
    assert top - 0.1 * (top - bottom) < max(highs) < top


def test_trained_curves_stand_on_anchors_judged_by_the_same_split(trained):
    comparison, entry = trained
    assert comparison["finetuned_on"] == "test"
    both = (entry["source"], entry["target"])
    for k, anchor in enumerate(a for a in comparison["anchors"] if a["name"] in both):
        anchor["test"] = {"value": 0.7 + 0.1 * k, "low": 0.6, "high": 0.9}
        assert anchor["val"]["value"] != anchor["test"]["value"]
    figure = charts.curves_chart(comparison, entry, "finetuned")
    assert sorted(trace(figure, "anchors").y) == pytest.approx([70, 80])
    macs, top1 = chosen_at(entry, "kl", "finetuned")
    costs = [a["macs"] for a in comparison["anchors"] if a["name"] in both]
    expected = envelope([*macs, *costs], [*top1, 0.7, 0.8])
    assert list(trace(figure, "KLAS (Γ): envelope").y[:-1]) == pytest.approx(
        list(100 * expected.accuracies)
    )
    comparison["finetuned_on"] = "val"
    figure = charts.curves_chart(comparison, entry, "finetuned")
    val = [a["val"]["value"] for a in comparison["anchors"] if a["name"] in both]
    assert list(trace(figure, "anchors").y) == pytest.approx([100 * value for value in val])


def test_what_is_not_measured_has_no_curve(trained):
    comparison, entry = trained
    for stitch in entry["chosen"]["dm"]:
        stitch["accuracy"]["finetuned"] = None
    for anchor in comparison["anchors"]:
        anchor["test"] = None  # as one without a head
    figure = charts.curves_chart(comparison, entry, "finetuned")
    assert not any(t.name.startswith("DM") for t in figure.data)
    assert len(trace(figure, "anchors").x) == 0
    macs, top1 = chosen_at(entry, "kl", "finetuned")
    assert list(trace(figure, "KLAS (Γ): envelope").y[:-1]) == pytest.approx(
        list(100 * envelope(macs, top1).accuracies)
    )


@pytest.mark.parametrize("metric", [m for m in METRICS if m not in SETS])
def test_the_scatter_shows_every_candidate_once_and_marks_the_chosen(richest, metric):
    chosen = method_choice(richest, SMALL.selection, metric)
    figure = charts.score_chart(richest, metric, set(richest.places(chosen)))
    others, taken = figure.data
    scores, top1 = richest.scores(metric), richest.accuracy("tuned")
    assert sorted(zip(taken.x, taken.y)) == sorted(zip(scores[chosen], 100 * top1[chosen]))
    rest = richest.in_space & ~chosen
    assert sorted(zip(others.x, others.y)) == sorted(zip(scores[rest], 100 * top1[rest]))
    assert taken.marker.symbol != others.marker.symbol


def test_scores_of_many_decades_stand_on_a_logarithmic_axis_and_infinite_ones_are_left_out(
    computed, richest
):
    document = copy.deepcopy(computed[1])
    pair = pairs_of(document)[richest.index]
    candidates = [c for c in pair.raw["candidates"] if c["in_space"]]
    for k, candidate in enumerate(candidates):
        candidate["scores"]["kl"] = 0.1 * 1.5**k
    candidates[3]["scores"]["kl"] = "inf"
    figure = charts.score_chart(pair, "kl", set())
    assert figure.layout.xaxis.type == "log"
    assert len(figure.data[0].x) == len(candidates) - 1
    for k, candidate in enumerate(candidates):
        candidate["scores"]["kl"] = 1 + 0.01 * k
    again = pairs_of(document)[richest.index]  # a pair reads its document once
    assert charts.score_chart(again, "kl", set()).layout.xaxis.type == "linear"


def test_all_pairs_are_dots_with_intervals_and_a_chance_level(comparison):
    figure = charts.agreement_chart(comparison)
    buckets = sum(p["buckets"] for p in comparison["pairs"])
    panels = {"x": ("overlap", 100 / buckets), "x2": ("containment", 100 / buckets)}
    panels["x3"] = ("spearman_within", 1.0)
    for axis, (name, scale) in panels.items():
        lines = [t for t in figure.data if t.xaxis == axis and t.mode == "lines"]
        dots = [t for t in figure.data if t.xaxis == axis and t.mode == "markers"]
        having = [m for m in METRICS if comparison["all_pairs"]["methods"][m][name] is not None]
        assert [t.y[0] for t in dots] == [METHODS[m] for m in having]
        for metric, line, dot in zip(having, lines, dots):
            actual = comparison["all_pairs"]["methods"][metric][name]
            assert dot.x[0] == pytest.approx(scale * actual["value"])
            assert list(line.x) == pytest.approx([scale * actual["low"], scale * actual["high"]])
    every = comparison["all_pairs"]["methods"]
    candidates = every["kl"]["spearman_within"]["candidates"]
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert f"ρ within buckets<br>({candidates} candidates)" in titles
    assert all("<br>" in title for title in titles[:3])  # in one line they overlap at 700 pixels
    chance = 100 * comparison["all_pairs"]["chance"]["value"] / buckets
    assert chance in [pytest.approx(shape.x0) for shape in figure.layout.shapes]
    assert f"chance {chance:.0f} %" in figure.layout.annotations[-1].text


@pytest.mark.parametrize("name", ["mean_top1", "auc_stitches"])
def test_budgets_show_every_method_with_whiskers(trained, name):
    methods = trained[1]["methods"]
    methods["dm"]["budgets"]["12"] = None  # it diverged
    assert budgets_of(methods) == [0, 1, 3, 12]
    figure = budget_chart(methods, name, TOP1)
    scale = 100 if name == "mean_top1" else 1
    for metric in METRICS:
        dots = trace(figure, METHODS[metric])
        actual = [methods[metric]["budgets"][s] for s in ("0", "1", "3", "12")]
        actual = [f[name] for f in actual if f]
        assert list(dots.y) == pytest.approx([scale * f["value"] for f in actual])
        whiskers = trace(figure, f"{METHODS[metric]}: intervals")
        assert list(whiskers.y[0::3]) == pytest.approx([scale * f["low"] for f in actual])
        assert list(whiskers.y[1::3]) == pytest.approx([scale * f["high"] for f in actual])
        assert set(whiskers.y[2::3]) == {None}
        # Each stands by its own budget, none exactly on another, none as if trained longer.
        assert np.abs(np.array(dots.x) - np.arange(len(actual))).max() < 0.1
    starts = [trace(figure, METHODS[metric]).x[0] for metric in METRICS]
    assert len(set(starts)) == len(METRICS)


def test_a_method_without_a_figure_at_any_budget_has_no_entry_in_the_legend(trained):
    methods = trained[1]["methods"]
    for steps in methods["dm"]["budgets"]:  # as where a pair is left out
        methods["dm"]["budgets"][steps] = {"mean_top1": None, "auc_stitches": None, "pairs": 2}
    names = [t.name for t in budget_chart(methods, "mean_top1", TOP1).data]
    assert METHODS["dm"] not in names
    assert METHODS["kl"] in names


def test_the_hover_of_a_set_says_that_it_has_no_score_and_maybe_no_bucket(comparison, entry):
    figure = charts.curves_chart(comparison, entry, "tuned")
    points = trace(figure, f"{METHODS['snnet']} ({len(entry['chosen']['snnet'])})")
    assert {facts[2] for facts in points.customdata} == {"–"}
    ours = trace(figure, f"{METHODS['kl']} ({len(entry['chosen']['kl'])})")
    scores = [float(facts[2]) for facts in ours.customdata]
    assert scores == pytest.approx([s["score"] for s in entry["chosen"]["kl"]], rel=1e-2)


def test_the_buckets_of_the_hover_are_those_of_the_choice(comparison, richest, entry):
    figure = charts.curves_chart(comparison, entry, "tuned")
    ours = trace(figure, f"{METHODS['kl']} ({len(entry['chosen']['kl'])})")
    picked = choose(richest, SMALL.selection)
    assert [facts[1] for facts in ours.customdata] == [str(b) for b in picked.bucket[picked.chosen]]


def test_a_race_is_drawn_at_the_tier_that_decides_it(trained):
    comparison, entry = trained
    figure = charts.curves_chart(comparison, entry, "finetuned")
    kept = entry["chosen"]["race"]
    points = trace(figure, f"race ({len(kept)})")
    assert list(points.y) == pytest.approx([100 * s["accuracy"]["finetuned"] for s in kept])
    assert {facts[2] for facts in points.customdata} == {"–"}  # it has no score


def test_a_comparison_from_before_races_is_drawn_without_one(trained):
    comparison, entry = trained
    methods_with = charts.agreement_chart(comparison).data
    for part in (*comparison["pairs"], comparison["all_pairs"]):
        for place in ("chosen", "methods"):
            part.get(place, {}).pop("race", None)
    for tier in ("zero_shot", "tuned", "finetuned"):
        names = [t.name for t in charts.curves_chart(comparison, entry, tier).data]
        assert any(name.startswith("KLAS (Γ)") for name in names)
        assert not any(name.startswith("race") for name in names)
    assert charts.agreement_chart(comparison).data == methods_with
    names = [t.name for t in budget_chart(entry["methods"], "mean_top1", TOP1).data]
    assert METHODS["snnet"] in names
    assert METHODS["race"] not in names
