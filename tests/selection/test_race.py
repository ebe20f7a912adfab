import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from klas.selection.race import ENTRANTS, RUNGS, entrants, rung_steps, survivors

sizes = st.integers(1, 24)


@st.composite
def fields(draw):
    """Scores, depths, costs and buckets of some candidates, many of them equal."""
    n = draw(sizes)
    few = st.integers(0, 4)
    scores = [draw(st.lists(few.map(float), min_size=n, max_size=n)) for _ in range(3)]
    for score in scores:
        for row in draw(st.lists(st.integers(0, n - 1), max_size=4)):
            score[row] = draw(st.sampled_from([np.inf, np.nan]))
    depths = draw(st.lists(st.tuples(few, few), min_size=n, max_size=n))
    macs = draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    bucket = draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n))
    return scores, np.array(depths) / 4, np.array(macs), np.array(bucket)


@given(fields())
def test_who_starts_is_in_a_bucket_and_every_scores_best_is_there(field):
    scores, depths, macs, bucket = field
    starts = entrants(scores, depths, macs, bucket)
    assert not starts[bucket < 0].any()
    for b in range(bucket.max() + 1):
        here = bucket == b
        finite = [np.isfinite(np.array(s)) & here for s in scores]
        if not any(mask.any() for mask in finite):
            assert not starts[here].any()
            continue
        assert starts[here].sum() == min(ENTRANTS, here.sum())
        for score, mask in zip(scores, finite):
            if mask.any():
                best = np.nanmin(np.array(score)[mask])
                assert (starts & mask & (np.array(score) == best)).any()


@given(fields())
def test_who_starts_does_not_depend_on_the_order_of_different_candidates(field):
    scores, depths, macs, bucket = field
    rng = np.random.default_rng(0)
    n = len(macs)
    macs = rng.permutation(n)  # no two cost the same, so no tie is decided by the order
    depths = rng.random((n, 2))
    order = rng.permutation(n)
    whole = entrants(scores, depths, macs, bucket)
    mixed = entrants(
        [np.array(s)[order] for s in scores], depths[order], macs[order], bucket[order]
    )
    assert (mixed == whole[order]).all()


def test_where_the_scores_agree_the_free_places_go_to_other_depths():
    depths = np.array([[0.5, 0.5], [0.6, 0.5], [0.1, 0.9], [1.0, 0.1], [0.5, 0.6]])
    score = [1, 2, 3, 4, 5]
    starts = entrants([score, score, score], depths, np.ones(5), np.zeros(5, dtype=int))
    # First the farthest from (0.5, 0.5), then the farthest from both.
    assert np.flatnonzero(starts).tolist() == [0, 2, 3]


@given(fields(), st.integers(1, 3), st.data())
def test_a_rung_keeps_the_best_of_every_bucket(field, kept, data):
    _, _, macs, bucket = field
    n = len(macs)
    accuracy = np.array(
        data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.9, np.nan]), min_size=n, max_size=n))
    )
    alive = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    on = survivors(accuracy, macs, bucket, alive, kept)
    assert not (on & ~alive).any()
    value = np.where(np.isnan(accuracy), -1.0, accuracy)
    for b in np.unique(bucket):
        here = (bucket == b) & alive
        assert (on & here).sum() == min(kept, here.sum())
        out, stay = here & ~on, here & on
        if out.any() and stay.any():
            assert value[stay].min() >= value[out].max()
            # Of equals the cheaper goes on.
            equal = value[stay].min() == value
            if (equal & out).any():
                assert macs[stay & equal].max() <= macs[out & equal].min()


def test_the_rungs_thin_a_bucket_out_to_one_before_the_end():
    assert [kept for _, kept in RUNGS] == [2, 1]
    assert rung_steps(0) == [[0, 2], [0, 1]]
    assert rung_steps(1_000) == [[250, 2], [500, 1]]


@given(st.integers(2, 40), st.integers(2, 40))
def test_of_what_is_equally_far_the_cheaper_one_starts(source_blocks, target_blocks):
    i, j = 1 / source_blocks, 1 / target_blocks
    # All four corners around the best are equally far, but for rounding.
    depths = np.array([[0.3, 0.6], *([0.3 + a * i, 0.6 + b * j] for a in (-1, 1) for b in (-1, 1))])
    score = [0, 1, 1, 1, 1]
    starts = entrants([score], depths, [9, 4, 3, 2, 1], [0] * 5)
    assert starts[[0, 4]].all()
