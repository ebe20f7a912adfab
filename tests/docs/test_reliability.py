"""docs/reliability.md shows what was measured, and nothing was lost."""

import json

from docs import reliability
from tests import test_foreign

FIGURES = json.loads(reliability.FIGURES.read_text(encoding="utf-8"))


def test_the_page_is_made_from_its_figures():
    assert reliability.OUT.read_text(encoding="utf-8") == reliability.page(FIGURES)
    assert "Not measured." in reliability.page({})


def test_something_was_measured_and_nothing_lost():
    assert set(FIGURES) <= set(reliability.PARTS)
    for part in FIGURES.values():
        for row in part["rows"].values():
            assert row.get("lost", 0) == row.get("other than a sentence", 0) == 0
            assert any(row.get(name) for name in ("kills", "flips", "cases", "at once"))


def test_every_fuzzed_format_is_counted():
    assert all(hasattr(test_foreign, name) for name in reliability.FORMATS)


def test_steps_are_drawn_once_each_until_the_time_is_over():
    assert sorted(reliability.drawn(9, 60)) == list(range(9))
    assert len(list(reliability.drawn(9, 0))) == 1
