"""The digits of a table's columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.tables.columns import three_digits


@given(st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=9))
def test_all_values_of_a_column_have_as_many_decimals_and_at_least_three_digits(values):
    form = three_digits(np.array(values))
    texts = [form % value for value in values]
    assert len({len(text.partition(".")[2].partition("e")[0]) for text in texts}) == 1
    for text, value in zip(texts, values):
        assert float(text) == pytest.approx(value, rel=5.001e-3)
        digits = text.partition("e")[0].replace(".", "").lstrip("0")
        assert len(digits) >= 3
    assert max(map(len, texts)) <= 10


def test_digits_of_known_columns():
    assert three_digits(np.array([24.3, 1.8, 1.74])) == "%.2f"
    assert three_digits(np.array([5.4, 0.998, np.nan, np.inf])) == "%.3f"
    assert three_digits(np.array([0.9996, 3.0])) == "%.2f"  # shown as 1.00
    assert three_digits(np.array([0.25, 0.0, -1e-16])) == "%.3f"  # no digits of a rounding error
    assert three_digits(np.array([0.0001, 20.0])) == "%.2e"
    assert three_digits(np.array([1234.0, 56789.0])) == "%.0f"
    assert three_digits(np.array([1.16, 12345.0])) == "%.2f"
    assert three_digits(np.array([])) == "%.2f"
