"""The order of work against the plainest simulations of it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klas.pipeline.engines.schedule import Work, by_urgency, makespan


@st.composite
def graphs(draw):
    """Results 0, 1, …, each after what it needs."""
    count = draw(st.integers(1, 7))
    work = {}
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), unique=True)) if number else []
        work[number] = Work(
            needs=tuple(needs),
            shares=draw(st.integers(1, 3)),
            seconds=draw(st.floats(0.1, 9)),
        )
    return work


def chain(work, result):
    """The longest way from the beginning of a result to the end of all that hangs on it."""
    behind = [chain(work, other) for other, one in work.items() if result in one.needs]
    return work[result].seconds / work[result].shares + max(behind, default=0)


@given(graphs())
def test_what_most_hangs_on_comes_first(work):
    order = by_urgency(work)
    assert sorted(order) == sorted(work)
    chains = [chain(work, result) for result in order]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(chains))
    for result, one in work.items():  # so what is needed never comes later
        assert all(order.index(need) < order.index(result) for need in one.needs)


@given(graphs(), st.integers(1, 4))
def test_the_time_is_within_what_any_list_schedule_can_promise(work, workers):
    seconds = makespan(work, workers)
    total, longest = sum(one.seconds for one in work.values()), max(chain(work, r) for r in work)
    assert seconds >= max(longest, total / workers) - 1e-9
    # Graham (1969), for every order in which nobody is idle while something can be done.
    assert seconds <= total / workers + (1 - 1 / workers) * longest + 1e-9
    assert makespan(work, 1) == pytest.approx(total)


@given(graphs())
def test_with_a_worker_for_every_share_only_the_longest_chain_counts(work):
    many = sum(one.shares for one in work.values())
    assert makespan(work, many) == pytest.approx(max(chain(work, result) for result in work))


def test_needs_that_are_there_already_hold_nobody_up():
    work = {"b": Work(needs=("a",), shares=1, seconds=2.0)}
    assert by_urgency(work) == ["b"]
    assert makespan(work, 3) == 2


def test_nothing_takes_no_time():
    assert by_urgency({}) == []
    assert makespan({}, 2) == 0
