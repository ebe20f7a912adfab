import numpy as np
import pytest

from dashboard import heatmap
from klas.results import choose, pairs_of
from tests.conftest import SMALL


@pytest.fixture(scope="module", params=[0, 1, 2])
def pair(request, computed):
    return pairs_of(computed[1])[request.param]


@pytest.fixture
def picked(pair):
    return choose(pair, SMALL.selection)


@pytest.mark.parametrize("metric", ["kl", "theta", "ends", "cka", "mse", "ce", "dm", "random"])
def test_the_heatmap_shows_a_score_of_every_stitch_and_frames_the_chosen(pair, picked, metric):
    figure = heatmap.score_heatmap(pair, picked, metric)
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
    z = np.array(heatmap.score_heatmap(pair, picked, "dm").data[0].z, dtype=float)
    assert np.nanmax(z) == len(pair.raw["candidates"]) - 1
    assert np.nanmax(np.array(heatmap.score_heatmap(pair, picked, "cka").data[0].z)) > 1e3
    pair.raw["candidates"][0]["scores"]["dm"] = 0.0
    assert np.nanmax(np.array(heatmap.score_heatmap(pair, picked, "dm").data[0].z)) > 1e3


def test_the_ring_is_on_the_cell_that_is_open_alone(pair, picked):
    squares = heatmap.score_heatmap(pair, picked).data[1]
    assert squares.marker.opacity == 0
    assert squares.selectedpoints is None
    i, j = pair.stitches[pair.in_space][2]
    squares = heatmap.score_heatmap(pair, picked, "kl", (int(i), int(j))).data[1]
    assert [(squares.y[k], squares.x[k]) for k in squares.selectedpoints] == [(i, j)]


def test_the_hover_explains_every_number(pair, picked):
    figure = heatmap.score_heatmap(pair, picked)
    facts = figure.data[1].customdata[0]
    i, j = int(facts[0]), int(facts[1])
    assert float(facts[4]) == pytest.approx(float(facts[5]) / float(facts[6]), rel=1e-2)
    assert float(facts[5]) == pytest.approx(pair.raw["theta"][i][j], rel=1e-3)
    assert facts[7].endswith(" MMACs")
    for word in ("Γ = Ω / Σ", "nats", "tuned"):
        assert word in figure.data[1].hovertemplate


def test_an_infinite_score_leaves_a_gap_and_no_error(pair, computed):
    import copy

    document = copy.deepcopy(computed[1])
    for candidate in document["pairs"][pair.index]["candidates"][:2]:
        candidate["scores"]["kl"] = "inf"
    holed = pairs_of(document)[pair.index]
    figure = heatmap.score_heatmap(holed, choose(holed, SMALL.selection))
    assert np.isnan(np.array(figure.data[0].z)).sum() == 2
