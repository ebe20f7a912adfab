from hypothesis import given
from hypothesis import strategies as st

from klas.selection.groups import OVERHEAD, balanced_groups
from klas.selection.space import search_space

PLACES = st.tuples(st.integers(1, 30), st.integers(0, 30))
COSTS = st.dictionaries(PLACES, st.integers(1, 30) | st.integers(1, 10**12), max_size=80)
SHARED = st.integers(0, 10**12)


@given(COSTS, SHARED)
def test_every_place_is_in_one_group_in_order_and_no_group_is_empty(costs, shared):
    groups = balanced_groups(costs, shared)
    assert all(groups)
    assert [place for group in groups for place in group] == sorted(costs)


@given(COSTS, SHARED, st.randoms(use_true_random=False))
def test_the_order_in_which_costs_are_given_makes_no_difference(costs, shared, order):
    items = list(costs.items())
    order.shuffle(items)
    assert balanced_groups(dict(items), shared) == balanced_groups(costs, shared)


@given(COSTS, SHARED)
def test_no_group_is_farther_from_the_mean_than_one_place_costs(costs, shared):
    groups = balanced_groups(costs, shared)
    for group in groups:
        load = sum(costs[place] for place in group)
        assert abs(load - sum(costs.values()) / len(groups)) <= max(costs.values())


@given(COSTS, SHARED)
def test_groups_are_as_many_as_is_useful_within_what_they_may_repeat(costs, shared):
    total, count = sum(costs.values()), len(balanced_groups(costs, shared))
    if costs:
        assert (count - 1) * shared <= OVERHEAD * total
        assert count * max(costs.values()) <= total
        one_more = count + 1
        assert count * shared > OVERHEAD * total or one_more * max(costs.values()) > total


def plain(source_depth, target_depth, relative):
    """A pair of plain networks: a block of the target costs 100, of the source ``relative``."""
    places = search_space(source_depth, target_depth)
    return {(i, j): 100 * (target_depth - j) for i, j in places}, relative * source_depth


def test_a_pair_of_deep_networks_has_many_groups_and_a_small_pair_few():
    assert len(balanced_groups(*plain(24, 24, 30))) > 16
    assert 6 <= len(balanced_groups(*plain(12, 12, 30))) <= 12
    assert 1 <= len(balanced_groups(*plain(3, 5, 30))) <= 3


def test_no_places_are_no_groups():
    assert balanced_groups({}, 1) == ()
