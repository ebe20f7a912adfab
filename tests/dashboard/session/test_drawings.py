"""A click on a chart, the stitch that it opens, and when a chart is drawn again."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.reading import session


def script():
    import streamlit as st

    from dashboard.session import drawings
    from dashboard.session.choices import keep
    from dashboard.session.state import session

    session().study_name = "digits"
    for cell in st.session_state.pop("elsewhere", []):
        keep("cell", cell)
    for name, arguments in st.session_state.pop("do", []):
        getattr(drawings, name)(*arguments)
    map_key, ringed = drawings.map_drawing("map")
    st.session_state[map_key] = {}  # as the chart's own widget does
    st.session_state["map"] = map_key, ringed
    st.session_state["tradeoff"] = drawings.tradeoff_drawing(st.session_state["appearance"])


@pytest.fixture
def tester(store):
    tester = AppTest.from_function(script)
    tester.session_state["appearance"] = "τ = 0.1"
    return tester.run()


def click(tester, how, *points):
    """The session after a click: a point is what it carries, None where it carries nothing."""
    carried = [{} if c is None else {"customdata": c} for c in points]
    tester.session_state["clicked"] = {"selection": {"points": carried}}
    tester.session_state["do"] = [(how, ["clicked"])]
    tester.run()
    assert not tester.exception
    return session(tester).choices.get("cell")


def drawn(tester, chart):
    return tester.session_state[chart]


def test_a_click_opens_the_stitch_whose_blocks_its_point_carries(tester):
    before = drawn(tester, "map")
    assert click(tester, "open_clicked_cell", [3, 12, "bucket 2"]) == (3, 12)
    assert tester.query_params["cell"] == "3-12"
    assert drawn(tester, "map") == before  # the browser has ringed it already
    assert click(tester, "open_clicked_cell") is None  # the same cell again
    assert drawn(tester, "map") == before


def test_a_cell_without_a_stitch_closes_the_one_that_is_open(tester):
    click(tester, "open_clicked_cell", [3, 12, "bucket 2"])
    assert click(tester, "open_clicked_cell", None) is None


def test_a_stitch_that_is_opened_elsewhere_has_its_ring_in_a_new_map(tester):
    (key, ringed), tester.session_state["elsewhere"] = drawn(tester, "map"), [(2, 1)]
    tester.run()
    assert ringed is None
    assert drawn(tester, "map") == ("map:2", (2, 1)) != (key, ringed)
    assert click(tester, "open_clicked_cell", [1, 1]) == (1, 1)
    assert drawn(tester, "map") == ("map:2", (2, 1))


def test_a_click_on_an_anchor_of_the_tradeoff_changes_nothing(tester):
    before = drawn(tester, "tradeoff")
    assert click(tester, "open_clicked_stitch", [4, 2]) == (4, 2)
    assert click(tester, "open_clicked_stitch", None) == (4, 2)
    assert click(tester, "open_clicked_stitch") == (4, 2)
    assert drawn(tester, "tradeoff") == before


def test_the_open_stitch_has_its_ring_where_the_tradeoff_is_drawn_again(tester):
    key, ringed = drawn(tester, "tradeoff")
    click(tester, "open_clicked_stitch", [4, 2])
    tester.session_state["appearance"] = "τ = 0.2"
    tester.run()
    assert ringed is None
    assert drawn(tester, "tradeoff")[0] != key
    assert drawn(tester, "tradeoff")[1] == (4, 2)
    tester.session_state["do"] = [("close_stitch", [])]
    tester.run()
    assert drawn(tester, "tradeoff")[1] is None
    assert "cell" not in session(tester).choices
