import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from klas.selection.budget import pick_by_accuracy, pick_by_score
from klas.selection.curves import front_rows

NAN, INF = float("nan"), float("inf")
few = st.integers(0, 6).map(float)  # so that equals are frequent
maybe = st.one_of(few, st.just(NAN))
networks = st.lists(st.tuples(maybe, maybe), max_size=12)


def known(points):
    return [(k, c, a) for k, (c, a) in enumerate(points) if not (np.isnan(c) or np.isnan(a))]


@given(networks)
def test_the_front_is_what_a_slow_search_finds(points):
    rows = known(points)
    expected = [
        k
        for k, c, a in rows
        if not any(
            d <= c and b >= a and (d < c or b > a or other < k)
            for other, d, b in rows
            if other != k
        )
    ]
    expected.sort(key=lambda k: points[k][0])
    actual = front_rows([c for c, _ in points], [a for _, a in points])
    assert actual.tolist() == expected


@given(networks, few)
def test_the_pick_is_the_most_accurate_affordable_then_the_cheapest_then_the_first(points, budget):
    affordable = [(a, -c, -k) for k, c, a in known(points) if c <= budget]
    actual = pick_by_accuracy([c for c, _ in points], [a for _, a in points], budget)
    if not affordable:
        assert actual is None
        return
    best = max(affordable)
    assert actual.best == -best[2]
    assert actual.affordable == len(affordable)
    below = [(a, -c, -k) for k, c, a in known(points) if c < -best[1]]
    assert actual.cheaper == (-max(below)[2] if below else None)
    above = [(c, -a, k) for k, c, a in known(points) if a > best[0]]
    assert actual.costlier == (min(above)[2] if above else None)


@given(
    st.lists(st.tuples(few, st.one_of(maybe, st.just(INF)), st.integers(-1, 3)), max_size=12), few
)
def test_without_accuracies_the_score_decides_in_the_costliest_affordable_bucket(rows, budget):
    able = [
        (-b, s, c, k)
        for k, (c, s, b) in enumerate(rows)
        if c <= budget and np.isfinite(s) and b >= 0
    ]
    columns = [[row[k] for row in rows] for k in range(3)]
    assert pick_by_score(*columns, budget) == (min(able)[3] if able else None)


def test_an_empty_zoo_and_a_budget_below_the_cheapest_give_nothing():
    assert pick_by_accuracy([], [], 1.0) is None
    assert pick_by_accuracy([2.0], [0.5], 1.9) is None
    assert pick_by_accuracy([2.0], [0.5], 2.0).best == 0
    assert pick_by_score([], [], [], 1.0) is None
