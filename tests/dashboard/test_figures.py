import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dashboard.figures import log_ticks

positive = st.floats(1e-12, 1e12)


@given(st.lists(positive, min_size=1))
def test_ticks_are_round_and_inside_or_the_ends(values):
    array = np.array(values)
    ticks = log_ticks(array)
    assert len(ticks) >= 2
    assert ticks.min() >= array.min() * (1 - 1e-9)
    assert ticks.max() <= array.max() * (1 + 1e-9)
    mantissas = [float(f"{t:e}".split("e")[0]) for t in ticks]
    ends = ticks.tolist() == [array.min(), array.max()]
    assert ends or all(min(abs(m - r) for r in (1, 2, 5, 10)) < 1e-6 for m in mantissas)


def test_without_a_positive_value_there_is_one_tick():
    assert log_ticks(np.array([0.0, -1.0])).tolist() == [1.0]
