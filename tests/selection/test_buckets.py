import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klas.errors import SelectionError
from klas.selection.buckets import assign_buckets, bucket_edges, matched, select

LOW, HIGH = 100, 1000
costs = st.lists(st.integers(50, 1100), min_size=1, max_size=40)
finite_or_inf = st.floats(-1, 1e6) | st.just(math.inf)


def slow_select(scores, macs, buckets, tau, mode):
    """The definition, read out loud."""
    width = (HIGH - LOW) / buckets
    chosen = set()
    for b in range(buckets):
        members = []
        for k, cost in enumerate(macs):
            if LOW <= cost <= HIGH and min(math.floor((cost - LOW) / width), buckets - 1) == b:
                members.append(k)
        finite = [k for k in members if scores[k] < math.inf]
        if finite:
            lowest = min(scores[k] for k in finite)
            for k in finite:
                bound = (1 + tau) * lowest if mode == "relative" else tau
                if scores[k] <= bound or scores[k] == lowest:
                    chosen.add(k)
    return chosen


@given(
    st.data(),
    costs,
    st.integers(1, 12),
    st.floats(0, 3),
    st.sampled_from(["relative", "absolute"]),
)
def test_selection_equals_the_slow_obvious_version(data, macs, buckets, tau, mode):
    scores = data.draw(st.lists(finite_or_inf, min_size=len(macs), max_size=len(macs)))
    actual = select(scores, macs, low=LOW, high=HIGH, tau=tau, tau_mode=mode, buckets=buckets)
    assert set(np.flatnonzero(actual.chosen)) == slow_select(scores, macs, buckets, tau, mode)


@given(costs, st.integers(1, 12), st.sampled_from(["width", "count"]))
def test_every_cost_in_range_is_in_the_bucket_whose_edges_hold_it(macs, buckets, binning):
    edges = bucket_edges(macs, LOW, HIGH, buckets, binning)
    assert len(edges) == buckets + 1
    assert (np.diff(edges) >= 0).all()
    for cost, b in zip(macs, assign_buckets(macs, edges, binning)):
        if LOW <= cost <= HIGH:
            slack = 1e-9 * HIGH  # an edge is rounded, a division is not
            assert edges[b] - slack <= cost <= edges[b + 1] + slack
        else:
            assert b == -1


def test_equal_count_puts_as_many_in_each_bucket():
    macs = np.array([100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 500, 1000])
    edges = bucket_edges(macs, LOW, HIGH, 4, "count")
    counts = np.bincount(assign_buckets(macs, edges, "count"), minlength=4)
    assert counts.tolist() == [3, 3, 3, 3]


@given(costs, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_tolerance_never_takes_less(macs, small, more):
    scores = [float(cost % 17) for cost in macs]
    first = select(scores, macs, low=LOW, high=HIGH, tau=small, buckets=5)
    second = select(scores, macs, low=LOW, high=HIGH, tau=small + more, buckets=5)
    assert (second.chosen | ~first.chosen).all()


@given(
    st.lists(st.floats(-1, 1), min_size=1),
    st.floats(0, 3),
    st.sampled_from(["relative", "absolute"]),
)
def test_the_lowest_is_always_taken_and_what_is_taken_is_no_worse_than_what_is_left(
    scores, tau, mode
):
    actual = select(scores, [200] * len(scores), low=LOW, high=HIGH, tau=tau, tau_mode=mode)
    assert actual.chosen[np.argmin(scores)]
    left = np.array(scores)[~actual.chosen]
    assert not left.size or max(np.array(scores)[actual.chosen]) < min(left)


def test_a_lowest_score_below_zero_by_rounding_is_chosen():
    actual = select([-1e-16, 0.5, 0.6], [200] * 3, low=LOW, high=HIGH)
    assert actual.chosen.tolist() == [True, False, False]


def test_a_bucket_with_only_infinite_scores_chooses_nothing_and_says_so():
    actual = select([math.inf, 1.0], [150, 900], low=LOW, high=HIGH, buckets=2, tau=9)
    assert actual.chosen.tolist() == [False, True]
    assert math.isinf(actual.lowest[0])


def test_equal_anchors_make_one_point_of_cost():
    actual = select([1.0, 2.0], [100, 101], low=100, high=100, buckets=3)
    assert actual.bucket.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("change", "word"),
    [({"tau": -0.1}, "tau"), ({"tau": math.nan}, "tau"), ({"buckets": 0}, "buckets")],
)
def test_nonsense_is_refused_by_name(change, word):
    with pytest.raises(SelectionError, match=word):
        select([1.0], [200], **({"low": LOW, "high": HIGH} | change))


def test_nan_scores_are_refused():
    with pytest.raises(SelectionError, match="NaN"):
        select([math.nan], [200], low=LOW, high=HIGH)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, math.inf]), st.integers(-1, 3)), min_size=1),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
)
def test_a_rival_takes_as_many_of_its_lowest_in_every_bucket(table, counts):
    scores, bucket = zip(*table)
    wanted = set()
    for b, count in enumerate(counts):
        inside = [(s, k) for k, s in enumerate(scores) if bucket[k] == b and s < math.inf]
        wanted |= {k for _, k in sorted(inside)[:count]}
    assert set(np.flatnonzero(matched(scores, bucket, counts))) == wanted


def test_the_bucketwise_best_matched_by_itself_is_itself():
    rng = np.random.default_rng(0)
    scores, macs = rng.random(40), rng.integers(LOW, HIGH, 40)
    actual = select(scores, macs, low=LOW, high=HIGH, tau=0.5, buckets=6)
    counts = np.bincount(actual.bucket[actual.chosen], minlength=6)
    assert (matched(scores, actual.bucket, counts) == actual.chosen).all()


def test_a_rival_without_its_scores_is_refused():
    assert matched([math.nan, 1.0], [-1, 0], [1]).tolist() == [False, True]
    with pytest.raises(SelectionError, match="1 of 2 scores are NaN"):
        matched([math.nan, 1.0], [0, 0], [1])
