"""The anchors and their probes as figures."""

import copy

import pytest

from dashboard.charts.anchors import anchors_chart, probe_chart


@pytest.fixture
def actual(computed):
    return copy.deepcopy(computed[1])


def test_the_probe_chart_has_a_line_per_anchor(actual):
    figure = probe_chart(actual)
    assert [len(d.y) for d in figure.data] == [a["blocks"] + 1 for a in actual["anchors"]]
    for line, anchor in zip(figure.data, actual["anchors"]):
        assert list(line.y) == pytest.approx([100 * v for v in anchor["probe_accuracy"]])


def test_a_probe_that_did_not_converge_is_hollow_and_says_so(actual):
    actual["anchors"][0]["probe_converged"] = [True, False, True, True]
    line = probe_chart(actual).data[0]
    assert list(line.marker.symbol) == ["circle", "circle-open", "circle", "circle"]
    assert [words for _, words in line.customdata] == ["", ", did not converge", "", ""]
    actual["anchors"][1]["probe_accuracy"] = None
    assert len(probe_chart(actual).data) == len(actual["anchors"]) - 1


def test_anchors_lie_at_their_cost_and_accuracy_joined_by_the_pairs(actual):
    figure = anchors_chart(actual)
    points = {d.name: (d.x[0], d.y[0]) for d in figure.data if d.mode != "lines"}
    for anchor in actual["anchors"]:
        place = anchor["macs"] / 1e6, 100 * anchor["accuracy"]
        assert points[anchor["name"]] == pytest.approx(place)
    lines = [d for d in figure.data if d.mode == "lines"]
    assert len(lines) == len(actual["pairs"])
    first = actual["pairs"][0]
    assert list(lines[0].x) == [points[first["source"]][0], points[first["target"]][0]]


def test_a_headless_anchor_has_no_place_and_a_name_is_text(actual):
    actual["anchors"][0]["accuracy"] = None
    actual["anchors"][1]["name"] = "<b>x</b>"
    figure = anchors_chart(actual)
    names = {d.name for d in figure.data if d.mode != "lines"}
    assert actual["anchors"][0]["name"] not in names
    assert "&lt;b&gt;x&lt;/b&gt;" in names
    for anchor in actual["anchors"]:
        anchor["accuracy"] = None
    assert not anchors_chart(actual).data
