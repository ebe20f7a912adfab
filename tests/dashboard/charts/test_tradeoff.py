"""The trade-off's charts hold what they say, and stand still."""

import copy
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboard.charts.front import front_chart
from dashboard.charts.methods import STYLES
from dashboard.charts.tradeoff import choice_chart, tradeoff_chart
from dashboard.model.tradeoff import Curve, Sheet, curves, within
from klas.results.pair import Choice, front, pairs_of
from klas.results.selections import choose
from klas.study import METRICS, change
from tests.conftest import SMALL, method_envelope
from tests.expected_text import METHODS

WIDE = (0.0, 100.0)


@pytest.fixture(scope="module", params=[0, 1, 2])
def sheet(request, computed):
    return Sheet(pair=pairs_of(computed[1])[request.param])


@pytest.fixture
def pair(sheet):
    return sheet.pair


@pytest.fixture
def picked(pair):
    return choose(pair, SMALL.selection)


def sound(figure):
    """The figure, after Plotly's own check of it, which is left out where figures are made."""
    go.Figure(figure.to_dict())
    return figure


def tradeoff(sheet, picked, drawn, **more):
    costs = sheet.costs["macs"]
    return sound(tradeoff_chart(sheet, picked, costs, "tuned", drawn, bounds=WIDE, **more))


def named(figure, name):
    return next(t for t in figure.data if (t.name or "").startswith(name))


@pytest.mark.parametrize("mode", ["relative", "absolute"])
def test_the_choice_chart_parts_the_candidates_into_chosen_and_left(sheet, pair, mode):
    spec = change(SMALL, "selection", tau=0.4, tau_mode=mode).selection
    picked = choose(pair, spec)
    figure = sound(choice_chart(sheet, picked, "kl", tau=0.4, tau_mode=mode))
    left, chosen = named(figure, "not chosen"), named(figure, "chosen")
    assert len(chosen.x) == picked.chosen.sum()
    assert len(left.x) + len(chosen.x) == pair.in_space.sum()
    assert chosen.marker.color == STYLES["kl"].colour
    # Every chosen point lies on or below its bucket's line, every other one above it.
    lines = figure.data[1]
    bars = list(zip(lines.x[::3], lines.x[1::3], lines.y[::3]))
    for trace, below in ((chosen, True), (left, False)):
        for x, y in zip(trace.x, trace.y):
            heights = [h for a, b, h in bars if a <= x < b or (b == lines.x[-2] and x == b)]
            assert all((y <= h * (1 + 1e-9)) == below for h in heights)


def test_a_range_of_cost_leaves_fewer_marked(sheet, picked):
    none = np.zeros_like(picked.chosen)
    figure = choice_chart(
        sheet, picked, "kl", tau=0.05, tau_mode="relative", inside=none, bounds=(1.0, 2.0)
    )
    assert len(named(figure, "chosen").x) == 0
    assert figure.layout.xaxis.range == (1.0 - 0.04, 2.0 + 0.04)


def test_an_infinite_score_is_left_out_and_no_error(computed):
    document = copy.deepcopy(computed[1])
    for candidate in document["pairs"][0]["candidates"]:
        candidate["scores"]["kl"] = "inf"
    sheet = Sheet(pair=pairs_of(document)[0])
    picked = choose(sheet.pair, SMALL.selection)
    figure = choice_chart(sheet, picked, "kl", tau=0.05, tau_mode="relative")
    assert [len(t.x) for t in figure.data[1:]] == [0, 0, 0]


def test_scores_below_zero_are_drawn_on_a_linear_axis(computed):
    document = copy.deepcopy(computed[1])
    sheet = Sheet(pair=pairs_of(document)[0])
    row = int(np.flatnonzero(sheet.pair.in_space)[0])
    sheet.pair.raw["candidates"][row]["scores"]["cka"] = -1e-16
    picked = choose(sheet.pair, change(SMALL, "selection", metric="cka").selection)
    figure = choice_chart(sheet, picked, "cka", tau=0.05, tau_mode="relative")
    assert -1e-16 in named(figure, "chosen").y
    assert figure.layout.yaxis.type is None
    low, high = figure.layout.yaxis.range
    assert low < -1e-16 < high
    assert -1e-16 in figure.data[1].y  # the line of its bucket


@pytest.mark.parametrize("tier", ["tuned", "finetuned"])
def test_the_axis_of_the_front_stands_still_whatever_is_chosen(computed, tier):
    pairs, axes = pairs_of(computed[1]), set()
    for buckets, tau in ((1, 0.0), (2, 0.1), (4, 1.0)):
        spec = change(SMALL, "selection", buckets=buckets, tau=tau).selection
        choices = []
        for pair in pairs:
            chosen, accuracy = choose(pair, spec).chosen, pair.accuracy("tuned")
            if tier == "finetuned":  # of which only the chosen are known
                accuracy = np.where(chosen, 0.5 * (pair.source["accuracy"] + accuracy), np.nan)
            choices.append(Choice(pair=pair, chosen=chosen, accuracy=accuracy))
        figure = front_chart(choices, front(choices), tier)
        low, high = figure.layout.yaxis.range
        assert all(low < y < high for t in figure.data for y in t.y if np.isfinite(y))
        axes.add((low, high))
    if tier == "tuned":
        assert len(axes) == 1
        every = np.concatenate([p.accuracy("tuned") for p in pairs])
        assert low < 100 * every.min()
        assert high > 100 * every.max()


def test_of_joint_training_the_front_lies_about_all_anchors(computed):
    pairs = pairs_of(computed[1])
    none = [Choice(pair=p, chosen=p.in_space, accuracy=np.full(len(p.macs), np.nan)) for p in pairs]
    low, high = front_chart(none, front(none), "finetuned").layout.yaxis.range
    anchors = [a["accuracy"] for a in computed[1]["anchors"]]
    assert low < 100 * max(2 * min(anchors) - max(anchors), 0)
    assert high > 100 * max(anchors)


def test_the_axes_stand_still_whatever_tau_is(sheet, pair):
    layouts = []
    for tau in (0.0, 0.2, 1.0):
        spec = change(SMALL, "selection", tau=tau).selection
        picked = choose(pair, spec)
        drawn, *_ = curves(pair, picked, "kl", METRICS, lambda *_: sheet.accuracy["tuned"])
        left = choice_chart(sheet, picked, "kl", tau=tau, tau_mode="relative")
        right = tradeoff(sheet, picked, drawn)
        layouts.append((left.layout.to_json(), right.layout.to_json()))
    assert len(set(layouts)) == 1
    for layout in (left.layout, right.layout):
        assert layout.height
        assert layout.xaxis.range
        assert layout.yaxis.range


def test_the_curves_are_the_methods_stitches_and_envelopes_in_their_own_colours(
    sheet, pair, picked
):
    drawn, *_ = curves(pair, picked, "kl", METRICS, lambda *_: sheet.accuracy["tuned"])
    figure = tradeoff(sheet, picked, drawn)
    for metric, chosen, accuracy in drawn:
        points = named(figure, f"{METHODS[metric]} (")
        assert list(points.y) == pytest.approx(100 * accuracy[chosen])
        assert list(points.x) == pytest.approx(pair.macs[chosen] / pair.unit.scale)
        assert points.marker.color == STYLES[metric].colour
        assert list(points.customdata) == [[i, j] for i, j in pair.places(chosen)]
        line = named(figure, f"{METHODS[metric]}: envelope")
        assert line.legendgroup == points.legendgroup
        curve = method_envelope(pair, chosen, accuracy)
        assert list(line.y[:-1]) == pytest.approx(100 * curve.accuracies)
        assert list(line.x[:-1]) == pytest.approx(curve.costs / pair.unit.scale)
    anchors = named(figure, "anchors")
    assert set(anchors.text) == {pair.source["name"], pair.target["name"]}


def test_klas_is_drawn_over_the_others_and_named_first(sheet, picked):
    drawn, *_ = curves(sheet.pair, picked, "cka", METRICS, lambda *_: sheet.accuracy["tuned"])
    points = [t for t in tradeoff(sheet, picked, drawn).data if t.legendrank]
    assert [t.legendgroup for t in points][-1] == "kl"
    assert min(points, key=lambda t: t.legendrank).legendgroup == "kl"
    ours = points[-1].marker
    for other in points[:-1]:
        assert other.marker.symbol.endswith(("-open", "-thin"))
        assert other.marker.size > ours.size


def test_the_ticks_of_scores_are_whole_numbers_with_all_their_digits(sheet, picked):
    axis = choice_chart(sheet, picked, "kl", tau=0.05, tau_mode="relative").layout.yaxis
    assert axis.type == "log"
    low, high = axis.range
    assert all(10**low <= tick <= 10**high for tick in axis.tickvals)
    assert [float(text) for text in axis.ticktext] == pytest.approx(list(axis.tickvals))


def test_the_hover_tells_bucket_and_choice(sheet, picked):
    drawn, *_ = curves(sheet.pair, picked, "kl", ["kl"], lambda *_: sheet.accuracy["tuned"])
    texts = named(tradeoff(sheet, picked, drawn), f"{METHODS['kl']} (").text
    buckets = picked.bucket[picked.chosen]
    assert list(texts) == [f"   bucket {b}, chosen" for b in buckets]


def test_the_open_stitch_has_a_ring_where_it_is_drawn(sheet, pair, picked):
    accuracy = sheet.accuracy["tuned"]
    curve = Curve("kl", picked.chosen, accuracy)
    row = np.flatnonzero(picked.chosen)[0]
    i, j = (int(n) for n in pair.stitches[row])
    ring = tradeoff(sheet, picked, [curve], cell=(i, j)).data[-1]
    assert ring.marker.symbol == "circle-open"
    assert list(ring.y) == pytest.approx([100 * accuracy[row]])
    # Trained with another choice the same stitch does otherwise, and has a ring there too.
    other = Curve("cka", picked.chosen, accuracy + 0.1)
    both = tradeoff(sheet, picked, [curve, other], cell=(i, j)).data[-1]
    assert list(both.y) == pytest.approx([100 * accuracy[row], 100 * accuracy[row] + 10])
    assert list(both.x) == [ring.x[0]] * 2
    without = tradeoff(sheet, picked, [within(curve, ~picked.chosen)], cell=(i, j))
    assert all(t.marker.symbol != "circle-open" for t in without.data)


def test_a_cost_that_was_not_measured_has_no_point(sheet, picked):
    costs = sheet.costs["macs"]
    holed = costs.stitches.copy()
    holed[np.flatnonzero(picked.chosen)[0]] = np.nan
    curve = Curve("kl", picked.chosen, sheet.accuracy["tuned"])
    figure = tradeoff_chart(
        sheet, picked, replace(costs, stitches=holed), "tuned", [curve], bounds=WIDE
    )
    assert len(named(figure, f"{METHODS['kl']} (").x) == picked.chosen.sum() - 1


def test_an_anchor_without_a_head_has_no_place_in_the_chart(computed):
    document = copy.deepcopy(computed[1])
    pair = pairs_of(document)[0]
    pair.source["accuracy"] = None
    sheet = Sheet(pair=pair)
    curve = Curve("kl", pair.in_space, sheet.accuracy["tuned"])
    figure = tradeoff(sheet, choose(pair, SMALL.selection), [curve])
    assert list(named(figure, "anchors").text) == [pair.target["name"]]


def test_a_name_is_text_and_no_markup(computed):
    document = copy.deepcopy(computed[1])
    evil = "<a href='javascript:x'>net</a>"
    old = document["pairs"][0]["source"]
    next(a for a in document["anchors"] if a["name"] == old)["name"] = evil
    document["pairs"][0]["source"] = evil
    pair = pairs_of(document)[0]
    picked = choose(pair, SMALL.selection)
    accuracy = pair.accuracy("tuned")
    sheet = Sheet(pair=pair)
    both = [
        tradeoff(sheet, picked, [Curve("kl", picked.chosen, accuracy)]),
        front_chart([Choice(pair=pair, chosen=picked.chosen, accuracy=accuracy)], [], "tuned"),
    ]
    for figure in both:
        assert "net" in str(figure.to_dict())
        assert "<a" not in str(figure.to_dict())


def test_the_front_is_drawn_over_all_pairs_and_every_point_knows_its_pair(computed):
    choices = [
        Choice(pair=p, chosen=choose(p, SMALL.selection).chosen, accuracy=p.accuracy("tuned"))
        for p in pairs_of(computed[1])
    ]
    points = front(choices)
    figure = sound(front_chart(choices, points, "tuned"))
    line = figure.data[0]
    assert list(line.x[:-1]) == pytest.approx([p.macs / 1e6 for p in points])
    assert list(line.y[:-1]) == pytest.approx([100 * p.accuracy for p in points])
    for choice, trace in zip(choices, figure.data[1:]):
        assert choice.pair.name in trace.name
        assert choice.pair.name in trace.hovertemplate
        assert [tuple(s) for s in trace.customdata] == [
            tuple(s) for s in choice.pair.stitches[choice.chosen]
        ]
    assert len({(t.marker.color, t.marker.symbol) for t in figure.data[1:-1]}) == len(choices)
