import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klas.choice.curves import area, areas, envelope, gain, saving

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
    assert curve.cost_of([0.3, 0.31, 0.5, 0.51]).tolist() == [1, 2, 3, np.inf]


def test_areas_of_a_hand_worked_case():
    # One stitch halfway at the costly anchor's accuracy, one a quarter in that is useless.
    found = areas([150, 125], [0.8, 0.5], CHEAP, COSTLY)
    assert found.auc == pytest.approx(0.5)  # 0 over the first half, 1 over the second
    assert found.area_top1 == pytest.approx(0.7)
    assert found.mean_top1 == pytest.approx(0.65)
    # Alone: nothing (accuracy 0) for a quarter, 0.5 for a quarter, 0.8 for a half.
    raw = 0.25 * 0.0 + 0.25 * 0.5 + 0.5 * 0.8
    assert found.auc_stitches == pytest.approx((raw - 0.6) / 0.2)


def test_no_stitches_leave_the_anchors_step():
    found = areas([], [], CHEAP, COSTLY)
    assert found.auc == 0
    assert found.area_top1 == pytest.approx(0.6)
    assert found.auc_stitches is None
    assert found.mean_top1 is None


def test_areas_are_null_with_a_reason_where_they_mean_nothing():
    same = areas([100], [0.7], CHEAP, (100.0, 0.8))
    assert same.auc is None
    assert "cost the same" in same.reason
    worse = areas([150], [0.7], CHEAP, (200.0, 0.6))
    assert worse.auc is None
    assert "not better" in worse.reason
    assert worse.area_top1 == pytest.approx(0.65)


@given(points)
def test_area_equals_a_fine_riemann_sum(cloud):
    curve = envelope(*zip(*cloud))
    grid = np.linspace(100, 200, 20001)[:-1]
    rough = np.nan_to_num(curve.at(grid), nan=0.25).mean()
    assert area(curve, 100, 200, nothing=0.25) == pytest.approx(rough, abs=2e-3)


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
