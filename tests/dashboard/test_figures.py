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
