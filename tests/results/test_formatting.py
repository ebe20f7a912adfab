"""What people read: sizes, times, accuracies, costs, counts and figures with their intervals."""

import math

import pytest

from klas.results.formatting import cost, duration, percent, size, tally, whole, with_interval
from klas.results.pair import GIGA, MEGA


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (999.4, "999 B"),
        (999.6, "1 kB"),  # an estimate need not be whole
        (1_000, "1 kB"),
        (1_499, "1 kB"),
        (12_345, "12 kB"),
        (999_499, "999 kB"),
        (999_501, "1.0 MB"),
        (999_950, "1.0 MB"),
        (999_999, "1.0 MB"),
        (1_000_000, "1.0 MB"),
        (1e6, "1.0 MB"),
        (3_440_000, "3.4 MB"),
        (999_940_000, "999.9 MB"),
        (999_960_000, "1.0 GB"),
        (999_999_999, "1.0 GB"),
        (1e9, "1.0 GB"),
        (999_940_000_000, "999.9 GB"),
        (999_960_000_000, "1.0 TB"),
        (1e12, "1.0 TB"),
        (5.55e12, "5.5 TB"),
        (1e15, "1,000.0 TB"),
        (math.nan, "–"),
    ],
)
def test_a_size_is_short_and_never_a_thousand_of_its_unit(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (0.6, "1 s"),
        (42, "42 s"),
        (59.9, "60 s"),
        (89.4, "89 s"),
        (89.6, "90 s"),
        (90, "2 min"),
        (149, "2 min"),
        (180, "3 min"),
        (3_600, "60 min"),
        (5_399, "90 min"),
        (5_400, "1.5 h"),
        (9_000, "2.5 h"),
        (86_400, "24.0 h"),
        (3_600_000, "1,000.0 h"),
        (math.nan, "–"),
    ],
)
def test_a_time_is_in_the_unit_that_says_enough(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0 %"),
        (0.8734, "87.3 %"),
        (0.9994, "99.9 %"),
        (0.9996, "100.0 %"),
        (1.0, "100.0 %"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_an_accuracy_is_in_percent_with_one_digit(value, text):
    assert percent(value) == text


@pytest.mark.parametrize(
    ("macs", "unit", "text"),
    [
        (0, MEGA, "0"),
        (55_200, MEGA, "0.0552"),
        (999_400, MEGA, "0.999"),
        (999_600, MEGA, "1"),
        (1_258_000_000, GIGA, "1.26"),
        (99_960_000, MEGA, "100"),
        (999_400_000, MEGA, "999"),
        (999_600_000, MEGA, "1,000"),
        (12_345_600_000, MEGA, "12,346"),
        (55_200, GIGA, "5.52e-05"),
    ],
)
def test_a_cost_has_three_digits_or_all_before_the_point(macs, unit, text):
    assert cost(macs, unit) == text


def interval(value, low, high):
    return {"value": value, "low": low, "high": high}


def test_a_figure_has_its_interval():
    assert with_interval(interval(0.6149, 0.4151, 0.7449)) == "0.61 [0.42, 0.74]"
    assert with_interval(interval(0.8734, 0.8, 0.9), scale=100, digits=1) == "87.3 [80.0, 90.0]"
    assert with_interval(interval(-0.001, -0.006, 0.0)) == "0.00 [-0.01, 0.00]"
    assert with_interval(interval(1.5, 1.0, "inf")) == "1.50 [1.00, inf]"
    assert with_interval(interval(0.5, None, None)) == "0.50 [–, –]"  # no replicate is defined
    assert with_interval(None) == "–"


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((4, 3, 4), "4 [3, 4]"),
        ((4.0, 3.0, 5.5), "4 [3, 5.5]"),
        ((3.46, 2.96, 10), "3.5 [3, 10]"),
        ((-0.0, 0, 20), "0 [0, 20]"),
        ((4, None, None), "4 [–, –]"),
    ],
)
def test_whole_counts_have_no_decimals(ends, text):
    assert tally(interval(*ends)) == text


def test_a_count_that_is_not_there_is_a_dash():
    assert tally(None) == "–"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0.0, "0"),
        (-0.04, "0"),
        (3.5, "3.5"),
        (9.94, "9.9"),
        (9.96, "10"),
        (10.0, "10"),
        (math.nan, "–"),
    ],
)
def test_a_count_may_be_fractional(count, text):
    assert whole(count) == text
