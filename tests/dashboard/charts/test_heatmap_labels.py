"""Numbers in the cells of a map: short, and as near the value as their digits allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts.heatmap_labels import buckets_fit, short, values_fit
from dashboard.text.quantities import Field


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (1.744, 3, "1.74"),
        (66.0, 3, "66"),
        (32.46, 2, "32"),
        (0.03717, 2, "0.037"),
        (999.6, 3, "1000"),
        (123.4, 2, "120"),
        (99_400, 2, "99000"),
        (123_456, 3, "1.2e5"),
        (0.000_371, 3, "3.7e-4"),
        (0.000_999_96, 3, "1e-3"),
        (0.0, 3, "0"),
        (-0.0123, 3, "-0.0123"),
        (np.inf, 3, "∞"),
        (-np.inf, 3, "−∞"),
        (np.nan, 3, ""),
    ],
)
def test_values_in_few_characters(value, digits, said):
    assert short(value, digits) == said


@given(st.floats(1e-30, 1e30), st.sampled_from([2, 3]))
def test_a_number_is_near_its_value_and_short(value, digits):
    text = short(value, digits)
    assert float(text) == pytest.approx(value, rel=0.5 * 10 ** (1 - min(digits, 2)) * 1.01)
    assert len(text) <= 7


def of_size(rows, columns):
    values = np.ones((max(rows, 1), columns))
    return Field(rows=tuple(range(rows)), columns=tuple(range(columns)), values=values)


def test_what_fits_hangs_on_the_room():
    assert values_fit(of_size(24, 12))
    assert not values_fit(of_size(12, 14))
    assert buckets_fit(of_size(24, 23))
    assert not buckets_fit(of_size(25, 12))
    assert not buckets_fit(of_size(0, 12))  # of a row of Σ
