import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from klas.errors import SelectionError
from klas.selection.agreement import (
    chance,
    containment,
    overlap,
    overlap_buckets,
    spearman,
    spearman_within,
    weighted_mean,
)

# Few distinct values, so that ties are the rule.
rows = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, math.inf]),
        st.sampled_from([0.1, 0.2, 0.3, 0.4]),
        st.integers(-1, 3),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


def scipys(scores, accuracy):
    """NaN where constant; infinities become a number above all."""
    if len(scores) < 2:
        return math.nan
    finite = [9e9 if s == math.inf else s for s in scores]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spearmanr(finite, [-a for a in accuracy]).statistic


def members(bucket, least):
    """The rows of every bucket that is large enough, one bucket after the other."""
    actual = [
        [k for k, b in enumerate(bucket) if b == which] for which in sorted(set(bucket) - {-1})
    ]
    return [m for m in actual if len(m) >= least]


def test_low_scores_with_high_accuracies_agree():
    assert spearman([1, 2, 3], [0.9, 0.8, 0.1]) == 1
    assert spearman([1, 2, math.inf], [0.1, 0.8, 0.9]) == -1


@given(rows)
def test_spearman_is_scipys(table):
    scores, accuracy, _, _ = zip(*table)
    assert spearman(scores, accuracy) == pytest.approx(scipys(scores, accuracy), nan_ok=True)


def test_spearman_of_a_long_row_without_ties_is_scipys():
    rng = np.random.default_rng(0)
    scores, accuracy = rng.normal(size=(2, 400))
    assert spearman(scores, accuracy) == pytest.approx(scipys(scores, accuracy), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "accuracy"),
    [([], []), ([1], [0.5]), ([1, 1], [0.1, 0.2]), ([1, 2], [0.3, 0.3]), ([math.inf] * 2, [1, 0])],
)
def test_where_there_is_no_order_there_is_no_agreement(scores, accuracy):
    assert np.isnan(spearman(scores, accuracy))
    mean, candidates = spearman_within(scores, accuracy, [0] * len(scores))
    assert np.isnan(mean)
    assert candidates == 0


@given(rows)
def test_agreement_within_buckets_is_the_weighted_mean_of_scipys(table):
    scores, accuracy, bucket, _ = zip(*table)
    total = weight = 0
    for rank in members(bucket, 3):
        rho = scipys([scores[k] for k in rank], [accuracy[k] for k in rank])
        if not math.isnan(rho):
            total, weight = total + len(rank) * rho, weight + len(rank)
    mean, candidates = spearman_within(scores, accuracy, bucket)
    assert candidates == weight
    assert mean == pytest.approx(total / weight if weight else math.nan, nan_ok=True)


def test_agreement_within_buckets_does_not_see_what_cost_explains():
    # Costly stitches are better and have lower scores; among equals the score is upside down.
    bucket = np.repeat([0, 1, 2], 4)
    accuracy = bucket + np.tile([0.1, 0.2, 0.3, 0.4], 3)
    scores = -bucket + np.tile([0.1, 0.2, 0.3, 0.4], 3)
    assert spearman(scores, accuracy) > 0.7
    mean, candidates = spearman_within(scores, accuracy, bucket)
    assert (mean, candidates) == (-1, 12)


@given(st.lists(rows, min_size=1, max_size=4))
def test_over_pairs_agreement_is_that_of_all_their_buckets_together(pairs):
    each = [spearman_within(*list(zip(*table))[:3]) for table in pairs]
    scores, accuracy, bucket = [], [], []
    for k, table in enumerate(pairs):
        for score, top1, b, _ in table:
            scores.append(score)
            accuracy.append(top1)
            bucket.append(-1 if b < 0 else 10 * k + b)
    whole, candidates = spearman_within(scores, accuracy, bucket)
    assert weighted_mean(*zip(*each)) == pytest.approx(float(whole), nan_ok=True)
    assert candidates == sum(count for _, count in each)


def test_a_pair_of_one_bucket_of_three_weighs_as_three_candidates():
    assert weighted_mean([1.0, -0.1, math.nan], [3, 57, 0]) == pytest.approx(-0.045)
    assert np.isnan(weighted_mean([math.nan, math.nan], [0, 0]))


@given(rows)
def test_overlap_chance_and_containment_equal_their_definitions(table):
    scores, accuracy, bucket, chosen = zip(*table)
    hits = by_chance = held = 0.0
    for inside in members(bucket, 2):
        top = max(accuracy[k] for k in inside)
        best = {k for k in inside if accuracy[k] == top}
        by_chance += len(best) / len(inside)
        held += any(chosen[k] for k in best)
        lowest = min(scores[k] for k in inside)
        tied = {k for k in inside if scores[k] == lowest}
        if lowest < math.inf:
            hits += len(tied & best) / len(tied)
    assert overlap(scores, accuracy, bucket) == pytest.approx(hits)
    assert chance(accuracy, bucket) == pytest.approx(by_chance)
    assert containment(chosen, accuracy, bucket) == held
    assert overlap_buckets(bucket) == len(members(bucket, 2))


def test_overlap_of_a_hand_worked_case():
    bucket = [0, 0, 1, 1, 1, 2, 3, 3, -1]
    accuracy = [0.5, 0.6, 0.7, 0.7, 0.1, 0.9, 0.2, 0.3, 1.0]
    scores = [2, 1, 5, 5, 5, 1, math.inf, math.inf, 0]
    # A hit, two of three tied, a bucket of one that does not count, nothing chosen.
    assert overlap(scores, accuracy, bucket) == pytest.approx(1 + 2 / 3)
    assert chance(accuracy, bucket) == pytest.approx(1 / 2 + 2 / 3 + 1 / 2)
    assert overlap_buckets(bucket) == 3


def test_chance_is_what_a_random_score_reaches():
    rng = np.random.default_rng(1)
    bucket, accuracy = rng.integers(0, 4, 20), rng.integers(0, 5, 20) / 5
    reached = overlap(rng.random((20000, 20)), accuracy, bucket).mean()
    assert reached == pytest.approx(chance(accuracy, bucket), abs=0.02)


def test_methods_meet_replicates_in_one_call():
    rng = np.random.default_rng(2)
    methods, replicates = rng.integers(0, 9, (3, 1, 15)), rng.integers(0, 9, (5, 15)) / 9
    bucket = rng.integers(-1, 3, 15)
    within, candidates = spearman_within(methods, replicates, bucket)
    for m, method in enumerate(methods[:, 0]):
        for r, accuracy in enumerate(replicates):
            assert spearman(methods, replicates)[m, r] == spearman(method, accuracy)
            one = spearman_within(method, accuracy, bucket)
            assert (within[m, r], candidates[m, r]) == one
            assert overlap(methods, replicates, bucket)[m, r] == overlap(method, accuracy, bucket)
            held = containment(methods < 3, replicates, bucket)[m, r]
            assert held == containment(method < 3, accuracy, bucket)
    assert within.shape == candidates.shape == (3, 5)
    assert chance(replicates, bucket).shape == (5,)


def test_without_buckets_nothing_counts():
    accuracy, outside = np.ones((2, 3)), [-1, -1, -1]
    mean, candidates = spearman_within([1, 2, 3], accuracy, outside)
    assert np.isnan(mean).all()
    assert candidates.tolist() == [0, 0]
    assert overlap([1, 2, 3], accuracy, outside).tolist() == [0, 0]
    assert containment([True] * 3, accuracy, outside).tolist() == [0, 0]
    assert overlap_buckets(outside) == 0


def test_what_is_not_measured_is_refused_inside_the_buckets_only():
    nan = math.nan
    assert overlap([1, 2, nan], [0.5, 0.4, nan], [0, 0, -1]) == 1
    with pytest.raises(SelectionError, match="1 of 3 scores"):
        spearman([1, 2, nan], [0.1, 0.2, 0.3])
    with pytest.raises(SelectionError, match="2 of 3 accuracies"):
        chance([0.1, nan, nan], [0, 0, 0])
