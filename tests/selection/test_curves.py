import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klas.selection.curves import (
    area_replicates,
    areas,
    envelope,
    gain,
    gain_replicates,
    saving,
    saving_replicates,
)

CHEAP, COSTLY = (100.0, 0.6), (200.0, 0.8)
points = st.lists(
    st.tuples(st.floats(50, 250), st.floats(0, 1)),
    min_size=1,
    max_size=20,
    unique_by=lambda p: p[0],
)


def test_an_envelope_keeps_only_what_is_better_than_everything_cheaper():
    curve = envelope([3, 1, 2, 2, 4], [0.5, 0.3, 0.2, 0.4, 0.5])
    assert curve.costs.tolist() == [1, 2, 3]
    assert curve.accuracies.tolist() == [0.3, 0.4, 0.5]
    assert np.isnan(curve.at(0.9))
    assert curve.at([1, 1.9, 2, 9]).tolist() == [0.3, 0.3, 0.4, 0.5]


few = st.one_of(st.integers(0, 6).map(float), st.just(float("nan")))  # equals are frequent


@given(st.lists(st.tuples(few, few), max_size=12))
def test_an_envelope_is_the_best_of_what_is_known_that_each_cost_affords(cloud):
    curve = envelope([c for c, _ in cloud], [a for _, a in cloud])
    for limit in range(7):
        best = max((a for c, a in cloud if c <= limit and a == a), default=float("nan"))
        np.testing.assert_equal(float(curve.at(limit)), best)
    assert (np.diff(curve.costs) > 0).all()
    assert (np.diff(curve.accuracies) > 0).all()


def test_areas_of_a_hand_worked_case():
    # One stitch halfway at the costly anchor's accuracy, one a quarter in that is useless.
    actual = areas([150, 125], [0.8, 0.5], CHEAP, COSTLY)
    assert actual.auc == pytest.approx(0.5)  # 0 over the first half, 1 over the second
    assert actual.area_top1 == pytest.approx(0.7)
    assert actual.mean_top1 == pytest.approx(0.65)
    # Alone: nothing (accuracy 0) for a quarter, 0.5 for a quarter, 0.8 for a half.
    raw = 0.25 * 0.0 + 0.25 * 0.5 + 0.5 * 0.8
    assert actual.auc_stitches == pytest.approx((raw - 0.6) / 0.2)


def test_no_stitches_leave_the_anchors_step():
    actual = areas([], [], CHEAP, COSTLY)
    assert actual.auc == 0
    assert actual.area_top1 == pytest.approx(0.6)
    assert actual.auc_stitches is None
    assert actual.mean_top1 is None


def test_areas_are_null_with_a_reason_where_they_mean_nothing():
    same = areas([100], [0.7], CHEAP, (100.0, 0.8))
    assert same.auc is None
    assert "cost the same" in same.reason
    worse = areas([150], [0.7], CHEAP, (200.0, 0.6))
    assert worse.auc is None
    assert "not better" in worse.reason
    assert worse.area_top1 == pytest.approx(0.65)


@given(points, points)
def test_more_stitches_never_make_an_area_smaller(some, more):
    few = areas(*zip(*some), CHEAP, COSTLY)
    many = areas(*zip(*(some + more)), CHEAP, COSTLY)
    assert many.auc >= few.auc - 1e-12
    assert many.auc_stitches >= few.auc_stitches - 1e-12


def test_gain_and_saving_of_a_hand_worked_case():
    ours = envelope([100, 140, 200], [0.6, 0.7, 0.8])
    theirs = envelope([100, 180, 200], [0.6, 0.7, 0.8])
    won = gain(ours, theirs, 100, 200)
    assert won.mean == pytest.approx(0.1 * 40 / 100)
    assert won.greatest == pytest.approx(0.1)
    spared = saving(ours, theirs)
    assert spared.greatest == pytest.approx(180 / 140)
    assert spared.mean == pytest.approx((180 / 140 + 1) / 2)


@given(points, points)
def test_gain_is_antisymmetric_in_its_mean(first, second):
    a, b = envelope(*zip(*first)), envelope(*zip(*second))
    forth, back = gain(a, b, 100, 200), gain(b, a, 100, 200)
    assert (forth is None) == (back is None)
    if forth is not None:
        assert forth.mean == pytest.approx(-back.mean)


def test_a_curve_against_itself_gains_and_saves_nothing():
    curve = envelope([100, 150], [0.6, 0.7])
    assert gain(curve, curve, 100, 200).mean == 0
    assert saving(curve, curve).mean == pytest.approx(1)


def test_nothing_in_common_gives_none():
    assert gain(envelope([300], [0.9]), envelope([100], [0.5]), 100, 200) is None
    assert saving(envelope([1], [0.9]), envelope([1], [0.5])) is None
    assert gain(envelope([], []), envelope([100], [0.5]), 100, 200) is None
    assert saving(envelope([], []), envelope([1], [0.5])) is None


def slow_saving(ours, theirs):
    """The mean over the middles of the twentieths of accuracy that both reach."""
    bottom = max(a.accuracies[0] for a in (ours, theirs))
    top = min(a.accuracies[-1] for a in (ours, theirs))
    if bottom >= top:
        return None

    def price(curve, accuracy):
        return next(c for c, a in zip(curve.costs, curve.accuracies) if a >= accuracy)

    grid = [(k + 0.5) / 20 for k in range(20) if bottom < (k + 0.5) / 20 < top]
    return np.mean([price(theirs, a) / price(ours, a) for a in grid])


in_twentieths = st.lists(
    st.tuples(st.floats(50, 250), st.integers(0, 20).map(lambda k: k / 20)), min_size=1, max_size=9
)


@given(in_twentieths, in_twentieths)
def test_saving_is_the_mean_ratio_of_what_accuracies_cost(first, second):
    ours, theirs = envelope(*zip(*first)), envelope(*zip(*second))
    actual, rough = saving(ours, theirs), slow_saving(ours, theirs)
    assert (actual is None) == (rough is None)
    if actual is not None:
        assert actual.mean == pytest.approx(rough)


# Few costs and accuracies: equal costs, equal accuracies and crossing curves are the rule.
some_costs = st.lists(st.sampled_from([60.0, 100.0, 120.0, 150.0, 180.0, 200.0, 240.0]), max_size=8)


def replicates(data, number):
    """(4, number) accuracies."""
    levels = st.sampled_from([0.2, 0.3, 0.5, 0.55, 0.7, 0.9])
    row = st.lists(levels, min_size=number, max_size=number)
    return np.array(data.draw(st.lists(row, min_size=4, max_size=4))).reshape(4, number)


@given(st.data(), some_costs, st.sampled_from([100.0, 150.0, 200.0]))
def test_every_replicate_has_the_areas_of_its_own_accuracies(data, costs, high):
    accuracies, floors, tops = (replicates(data, n) for n in (len(costs), 1, 1))
    floor, top = floors[:, 0], tops[:, 0]
    actual = area_replicates(costs, accuracies, (100.0, floor), (high, top))
    for r in range(4):
        wanted = areas(costs, accuracies[r], (100.0, floor[r]), (high, top[r]))
        for name in ("auc", "auc_stitches", "area_top1", "mean_top1"):
            value = getattr(wanted, name)
            assert actual[name].shape == (4,)
            expected = np.nan if value is None else value
            assert actual[name][r] == pytest.approx(expected, nan_ok=True)


@given(st.data(), some_costs)
def test_areas_of_replicates_equal_the_definition_by_envelopes(data, costs):
    accuracies = replicates(data, len(costs))
    actual = area_replicates(costs, accuracies, (100.0, 0.4), (200.0, 0.8))
    for r in range(4):
        both = envelope([*costs, 100, 200], [*accuracies[r], 0.4, 0.8])
        heights = [both.at(c + 0.5) for c in range(100, 200)]  # all costs are whole
        assert actual["area_top1"][r] == pytest.approx(np.mean(heights))
        assert actual["auc"][r] == pytest.approx((np.mean(heights) - 0.4) / 0.4)
        if costs:
            alone = np.nan_to_num(
                [envelope(costs, accuracies[r]).at(c + 0.5) for c in range(100, 200)]
            )
            assert actual["auc_stitches"][r] == pytest.approx((alone.mean() - 0.4) / 0.4)


@given(st.data(), some_costs, some_costs)
def test_every_replicate_gains_and_saves_as_its_own_envelopes_do(data, mine, other):
    first, second = replicates(data, len(mine)), replicates(data, len(other))
    won = gain_replicates((mine, first), (other, second), 100, 200)
    spared = saving_replicates((mine, first), (other, second)) if mine and other else None
    assert won[0].shape == won[1].shape == (4,)
    for r in range(4):
        ours, theirs = envelope(mine, first[r]), envelope(other, second[r])
        for actual, one in ((won, gain(ours, theirs, 100, 200)), (spared, saving(ours, theirs))):
            if actual is not None:
                both = [actual[0][r], actual[1][r]]
                wanted = [one.mean, one.greatest] if one else [np.nan, np.nan]
                assert both == pytest.approx(wanted, nan_ok=True)


def test_a_fixed_curve_meets_replicates():
    accuracies = np.array([[0.6, 0.8], [0.5, 0.9]])
    mean, greatest = gain_replicates(([100, 150], accuracies), ([100], [0.6]), 100, 200)
    assert mean == pytest.approx([0.1, 0.1])
    assert greatest == pytest.approx([0.2, 0.3])
    mean, greatest = saving_replicates(([100, 150], accuracies), ([100, 200], [0.6, 0.8]))
    assert mean == pytest.approx([200 / 150, 200 / 150])
    assert greatest == pytest.approx([200 / 150, 200 / 150])
