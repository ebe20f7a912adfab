"""The chart of a race, against the rungs that it is made of."""

import pytest

from dashboard.charts.methods import STYLES
from dashboard.charts.race import race_chart
from dashboard.charts.theme import FAINT
from klas.results.pair import Pair
from tests.results.written_study import DOCUMENT

PAIR = Pair(document=DOCUMENT, index=0)
FIRST = {"1-1": 0.5, "1-2": 0.25, "2-1": 0.75, "2-2": 0.625}
SECOND = {"1-1": 0.625, "2-1": 0.875, "2-2": 0.75}
AT_THE_END = {"2-1": 0.9, "2-2": 0.8}


def running(*rungs, left):
    moments = [{"step": step, "accuracy": accuracy} for step, accuracy in zip((40, 80), rungs)]
    return {"rungs": moments, "left": left, "accuracy": None, "steps": 160}


OVER = {**running(FIRST, SECOND, left=[*AT_THE_END]), "accuracy": AT_THE_END}


def lines(race):
    """By stitch: its line, as (step, percent), its colour, its last symbol."""
    figure = race_chart(PAIR, race)
    return {
        t.hovertemplate.split(",")[0].removeprefix("stitch ").replace(" → ", "-"): (
            list(zip(t.x, t.y)),
            t.line.color,
            t.marker.symbol[-1],
        )
        for t in figure.data
    }


def test_every_stitch_is_a_line_to_where_it_dropped_out():
    shown = lines(OVER)
    assert shown.keys() == FIRST.keys()
    for name, (line, colour, end) in shown.items():
        moments = [(40, FIRST), (80, SECOND), (160, AT_THE_END)]
        assert line == [(step, 100 * at[name]) for step, at in moments if name in at]
        kept = name in AT_THE_END
        assert colour == (STYLES["race"].colour if kept else FAINT)
        assert end == ("circle" if kept else "x")


def test_while_it_is_run_who_is_left_is_told_from_who_dropped_out():
    shown = lines(running(FIRST, left=["1-1", "2-1", "2-2"]))
    assert {name: end for name, (_, _, end) in shown.items()} == {
        "1-1": "circle",
        "1-2": "x",
        "2-1": "circle",
        "2-2": "circle",
    }
    assert all(len(line) == 1 for line, *_ in shown.values())


@pytest.mark.parametrize(
    ("race", "names"),
    [
        (running(FIRST, left=["1-1", "2-1", "2-2"]), {"dropped out", "still racing"}),
        (OVER, {"dropped out", "kept"}),
        (running(AT_THE_END, left=[*AT_THE_END]), {"still racing"}),
    ],
)
def test_the_legend_names_each_kind_once(race, names):
    shown = [t.name for t in race_chart(PAIR, race).data if t.showlegend]
    assert sorted(shown) == sorted(names)


def test_the_axes_hold_every_point_and_the_whole_training():
    figure = race_chart(PAIR, running(FIRST, left=[*FIRST]))
    low, high = figure.layout.yaxis.range
    assert low < 25 < 75 < high
    assert figure.layout.xaxis.range[1] > 160
    alone = race_chart(PAIR, {**running({"1-1": 0.5}, left=["1-1"]), "steps": 0})
    assert alone.layout.yaxis.range[0] < 50 < alone.layout.yaxis.range[1]
    assert alone.layout.xaxis.range[1] > 0
