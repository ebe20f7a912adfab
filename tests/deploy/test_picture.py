"""The picture on a model card."""

from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from klas.deploy.picture import Point, tradeoff_svg

points = st.lists(
    st.builds(
        Point,
        st.text(alphabet="ab<&>\"'", min_size=1, max_size=4),
        st.floats(1e-3, 1e6),
        st.floats(0, 100),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(points)
@example([Point("a", 1.0, 0.0, False), Point("b", 1.0, 2**-52, False)])
@example([Point("a", 1e6, 50.0, False), Point("b", 1e6 + 2**-20, 50.0, False)])
def test_it_is_valid_and_shows_every_network_inside_its_frame(drawn):
    root = ElementTree.fromstring(tradeoff_svg(drawn, "MMACs"))
    space = "{http://www.w3.org/2000/svg}"
    dots = root.findall(f"{space}circle")
    assert len(root.findall(f".//{space}title")) == len(drawn)
    assert len(dots) == sum(not point.anchor for point in drawn)
    for dot in dots:
        assert 0 <= float(dot.get("cx")) <= 720
        assert 0 <= float(dot.get("cy")) <= 420


def test_what_is_better_is_higher_and_what_costs_more_is_further_right():
    drawn = [Point("a", 1.0, 60.0, False), Point("b", 3.0, 80.0, False)]
    root = ElementTree.fromstring(tradeoff_svg(drawn, "MMACs"))
    first, second = root.findall("{http://www.w3.org/2000/svg}circle")
    assert float(first.get("cx")) < float(second.get("cx"))
    assert float(first.get("cy")) > float(second.get("cy"))


@pytest.mark.parametrize("count", [1, 2])
def test_networks_that_are_all_alike_can_be_drawn(count):
    assert "<circle" in tradeoff_svg([Point("a", 5.0, 90.0, False)] * count, "MMACs")
