import numpy as np
import pytest

from dashboard import figures
from klas.results import Choice, choose, front, method_envelope, pairs_of
from tests.conftest import SMALL


@pytest.fixture(scope="module", params=[0, 1, 2])
def pair(request, computed):
    return pairs_of(computed[1])[request.param]


@pytest.fixture
def picked(pair):
    return choose(pair, SMALL.selection)


@pytest.mark.parametrize("metric", ["kl", "theta", "ends", "cka", "mse", "ce", "dm", "random"])
def test_the_heatmap_shows_a_score_of_every_stitch_and_frames_the_chosen(pair, picked, metric):
    figure = figures.score_heatmap(pair, picked, metric)
    z = np.array(figure.data[0].z)
    scores = pair.scores(metric)[pair.in_space]
    log = metric != "cka" and scores.min() > 0 and scores.max() / scores.min() > 10
    assert (figure.data[0].colorbar.ticktext is not None) == log
    for (i, j), score in zip(pair.stitches[pair.in_space], scores):
        column = list(figure.data[0].x).index(j)
        row = list(figure.data[0].y).index(i)
        assert z[row, column] == pytest.approx(np.log10(score) if log else score)
    framed = figure.data[-1]
    assert sorted(zip(framed.y, framed.x)) == sorted(map(tuple, pair.stitches[picked.chosen]))
    if metric != "kl":
        shown = [float(fact[11].split(" = ")[1]) for fact in figure.data[1].customdata]
        assert shown == pytest.approx(scores, rel=1e-3)
        assert figure.data[1].hovertemplate.startswith("%{customdata[11]}")


def test_scores_that_span_decades_get_logarithmic_colours_unless_one_is_not_positive(computed):
    import copy

    document = copy.deepcopy(computed[1])
    pair = pairs_of(document)[0]
    for k, candidate in enumerate(pair.raw["candidates"]):
        candidate["scores"]["dm"] = candidate["scores"]["cka"] = 10.0**k
    picked = choose(pair, SMALL.selection)
    z = np.array(figures.score_heatmap(pair, picked, "dm").data[0].z, dtype=float)
    assert np.nanmax(z) == len(pair.raw["candidates"]) - 1
    assert np.nanmax(np.array(figures.score_heatmap(pair, picked, "cka").data[0].z)) > 1e3
    pair.raw["candidates"][0]["scores"]["dm"] = 0.0
    assert np.nanmax(np.array(figures.score_heatmap(pair, picked, "dm").data[0].z)) > 1e3


def test_the_ring_is_on_the_cell_that_is_open_alone(pair, picked):
    squares = figures.score_heatmap(pair, picked).data[1]
    assert squares.marker.opacity == 0
    assert squares.selectedpoints is None
    i, j = pair.stitches[pair.in_space][2]
    squares = figures.score_heatmap(pair, picked, "kl", (int(i), int(j))).data[1]
    assert [(squares.y[k], squares.x[k]) for k in squares.selectedpoints] == [(i, j)]


def test_the_hover_explains_every_number(pair, picked):
    figure = figures.score_heatmap(pair, picked)
    facts = figure.data[1].customdata[0]
    i, j = int(facts[0]), int(facts[1])
    assert float(facts[4]) == pytest.approx(float(facts[5]) / float(facts[6]), rel=1e-2)
    assert float(facts[5]) == pytest.approx(pair.raw["theta"][i][j], rel=1e-3)
    assert facts[7].endswith(" MMACs")
    for word in ("Γ = Ω / Σ", "nats", "tuned"):
        assert word in figure.data[1].hovertemplate


def test_the_choice_chart_parts_the_candidates_into_chosen_and_left(pair, picked):
    figure = figures.choice_chart(pair, picked, pair.scores("kl"), 0.05, "relative", "kl")
    left, chosen = figure.data
    assert len(chosen.x) == picked.chosen.sum()
    assert len(left.x) + len(chosen.x) == pair.in_space.sum()


def test_the_pareto_chart_shows_each_method_and_both_anchors(pair, picked):
    accuracy = pair.accuracy("tuned")
    curve = method_envelope(pair, picked.chosen, accuracy)
    figure = figures.pareto_chart(pair, [("KLAS", figures.KLAS, picked.chosen, accuracy, curve)])
    points = next(d for d in figure.data if d.name.startswith("KLAS ("))
    assert list(points.y) == pytest.approx(100 * accuracy[picked.chosen])
    anchors = next(d for d in figure.data if d.name == "anchors")
    assert set(anchors.text) == {pair.source["name"], pair.target["name"]}


def test_an_anchor_without_a_head_has_no_place_in_the_chart(computed):
    import copy

    document = copy.deepcopy(computed[1])
    pair = pairs_of(document)[0]
    pair.source["accuracy"] = None
    chosen, accuracy = pair.in_space, pair.accuracy("tuned")
    curve = method_envelope(pair, chosen, accuracy)
    figure = figures.pareto_chart(pair, [("KLAS", figures.KLAS, chosen, accuracy, curve)])
    anchors = next(d for d in figure.data if d.name == "anchors")
    assert list(anchors.text) == [pair.target["name"]]


def test_the_front_is_drawn_over_all_pairs_and_every_point_knows_its_pair(computed):
    choices = [
        Choice(pair=p, chosen=choose(p, SMALL.selection).chosen, accuracy=p.accuracy("tuned"))
        for p in pairs_of(computed[1])
    ]
    points = front(choices)
    figure = figures.front_chart(choices, points)
    line = figure.data[0]
    assert list(line.x[:-1]) == pytest.approx([p.macs / 1e6 for p in points])
    assert list(line.y[:-1]) == pytest.approx([100 * p.accuracy for p in points])
    for choice, trace in zip(choices, figure.data[1:]):
        assert choice.pair.name in trace.name
        assert choice.pair.name in trace.hovertemplate
        assert [tuple(s) for s in trace.customdata] == [
            tuple(s) for s in choice.pair.stitches[choice.chosen]
        ]
    assert len({t.marker.color for t in figure.data[1:-1]}) == len(choices)


def test_an_infinite_score_leaves_a_gap_and_no_error(pair, computed):
    import copy

    document = copy.deepcopy(computed[1])
    for candidate in document["pairs"][pair.index]["candidates"][:2]:
        candidate["scores"]["kl"] = "inf"
    holed = pairs_of(document)[pair.index]
    figure = figures.score_heatmap(holed, choose(holed, SMALL.selection))
    assert np.isnan(np.array(figure.data[0].z)).sum() == 2


def test_the_probe_chart_has_a_line_per_anchor(computed):
    figure = figures.probe_chart(computed[1]["anchors"])
    assert [len(d.y) for d in figure.data] == [a["blocks"] + 1 for a in computed[1]["anchors"]]
