"""The page of the map in Streamlit's own test runner."""

import base64
import json

import numpy as np
import pytest

from dashboard.text.quantities import field
from klas.results.pair import pairs_of
from klas.results.selections import choose
from tests.conftest import SMALL
from tests.dashboard.reading import captions, widget


@pytest.fixture
def richest(computed):
    return max(pairs_of(computed[1]), key=lambda p: p.in_space.sum())


def printed(tester):
    """(i, j): the number in its cell."""
    (spec,) = [json.loads(c.proto.spec) for c in tester.get("plotly_chart")]
    (texts,) = [t for t in spec["data"] if t.get("mode") == "text"]
    listed = {k: plain(texts[k]) for k in ("x", "y")}
    return {(i, j): t.strip("</b>") for i, j, t in zip(listed["y"], listed["x"], texts["text"])}


def plain(axis):
    """Plotly packs arrays."""
    if isinstance(axis, dict):
        return np.frombuffer(base64.b64decode(axis["bdata"]), axis["dtype"]).tolist()
    return axis


def test_cells_have_values_until_buckets_are_asked_for_and_that_is_remembered(
    app, computed, richest
):
    tester = app(computed[0].root, "scores")
    shown, picked = field(richest, "kl"), choose(richest, SMALL.selection)
    values = {
        (i, j): shown.values[r, c]
        for r, i in enumerate(shown.rows)
        for c, j in enumerate(shown.columns)
    }
    told = printed(tester)
    assert {place: float(text) for place, text in told.items()} == pytest.approx(values, rel=0.05)
    assert "Printed: Γ. " in captions(tester)
    assert "Dot: the best of its bucket of cost by KLAS (Γ)" in captions(tester)
    widget(tester, "bucket_numbers").set_value(True).run()
    assert not tester.exception
    buckets = dict(zip(richest.places(richest.in_space), picked.bucket[richest.in_space]))
    assert printed(tester) == {p: str(b) if b >= 0 else "–" for p, b in buckets.items()}
    assert "Printed: buckets of cost" in captions(tester)
    widget(tester, "show").set_value("sigma").run()
    assert not tester.toggle  # a row of the target's own blocks is in no bucket
    assert "Printed: Σ (nats). " in captions(tester)
    tester.switch_page("views/stitches.py").run()
    tester.switch_page("views/scores.py").run()
    widget(tester, "show").set_value("score").run()
    assert widget(tester, "bucket_numbers").value
    assert "Printed: buckets of cost" in captions(tester)


def test_the_way_without_a_mouse_says_that_it_is_one(app, computed):
    tester = app(computed[0].root, "scores")
    (chooser,) = [s for s in tester.selectbox if s.label == "Stitch"]
    assert "from the keyboard" in chooser.help
