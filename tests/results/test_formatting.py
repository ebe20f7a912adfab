"""What people read: counts with their intervals."""

import pytest

from klas.results.formatting import tally, whole


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((4, 3, 4), "4 [3, 4]"),
        ((4.0, 3.0, 5.5), "4 [3, 5.5]"),
        ((3.46, 2.96, 10), "3.5 [3, 10]"),
        ((-0.0, 0, 20), "0 [0, 20]"),
    ],
)
def test_whole_counts_have_no_decimals(ends, said):
    assert tally(dict(zip(("value", "low", "high"), ends))) == said
    assert tally(None) == "–"
    assert whole(10.0) == "10"
