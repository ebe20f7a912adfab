import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from klas.selection.bootstrap import BLOCKS, block_of, block_sums, draws, interval, means, wilson


@given(st.integers(1, 1000))
def test_blocks_are_contiguous_and_equal_but_for_one(samples):
    blocks = block_of(samples)
    sizes = np.bincount(blocks)
    assert len(blocks) == samples
    assert (np.diff(blocks) >= 0).all()
    assert len(sizes) == min(BLOCKS, samples)
    assert sizes.max() - sizes.min() <= 1
    assert sizes.min() >= 1


@given(st.integers(1, 300), st.integers(0, 9))
def test_sums_over_blocks_of_bits_and_numbers(samples, seed):
    rng = np.random.default_rng(seed)
    blocks = block_of(samples)
    bits, numbers = rng.random((2, 3, samples)) < 0.5, rng.normal(size=samples)
    counted, summed = block_sums(bits, blocks), block_sums(numbers, blocks)
    assert counted.shape == (2, 3, blocks[-1] + 1)
    for b in range(blocks[-1] + 1):
        assert (counted[..., b] == bits[..., blocks == b].sum(axis=-1)).all()
        assert summed[b] == pytest.approx(numbers[blocks == b].sum())


def test_sums_of_half_precision_neither_overflow_nor_round():
    values = np.full(10_000, 1001, dtype=np.float16)
    assert block_sums(values, block_of(10_000)).tolist() == [float(values[0]) * 100] * 100


def test_draws_are_seeded_with_replacement_and_uniform():
    drawn = draws(50, 2000, seed=3)
    assert drawn.shape == (2000, 50)
    assert (drawn.sum(axis=1) == 50).all()
    assert (drawn == draws(50, 2000, seed=3)).all()
    assert (drawn != draws(50, 2000, seed=4)).any()
    # Each count is binomial: mean 1, variance 1 − 1/50.
    assert drawn.mean(axis=0) == pytest.approx(np.ones(50), abs=0.1)
    assert drawn.var() == pytest.approx(0.98, abs=0.02)


def test_means_are_those_of_the_drawn_samples():
    rng = np.random.default_rng(0)
    blocks = block_of(257)  # blocks of two and three
    bits = rng.random((4, 257)) < 0.7
    drawn = draws(100, 6, seed=1)
    actual = means(block_sums(bits, blocks), np.bincount(blocks), drawn)
    for r in range(6):
        resample = np.concatenate(
            [np.tile(np.flatnonzero(blocks == b), drawn[r, b]) for b in range(100)]
        )
        # To the last bit: candidates with equally many hits must stay tied.
        assert (actual[r] == bits[:, resample].mean(axis=1)).all()


def test_equally_good_candidates_stay_tied():
    blocks = block_of(301)
    rng = np.random.default_rng(5)
    bits = np.sort(rng.random((1, 301)) < 0.6).repeat(2, axis=0)
    for b in range(100):  # the same number right in every block, of other samples
        bits[1, blocks == b] = bits[1, blocks == b][::-1]
    actual = means(block_sums(bits, blocks), np.bincount(blocks), draws(100, 500, seed=0))
    assert (actual[:, 0] == actual[:, 1]).all()


def test_the_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(2).normal(size=100)
    resamples = draws(100, 9999, seed=7)
    ours = interval(means(block_sums(values, block_of(100)), np.ones(100), resamples))
    theirs = bootstrap(
        (values,),
        np.mean,
        n_resamples=9999,
        method="percentile",
        random_state=np.random.default_rng(8),  # resamples of its own
    )
    width = np.ptp(theirs.confidence_interval)
    assert np.array(ours) == pytest.approx(np.array(theirs.confidence_interval), abs=0.05 * width)


def test_the_interval_over_blocks_agrees_with_scipys_over_samples():
    bits = np.random.default_rng(4).random(5000) < 0.8
    blocks = block_of(5000)
    ours = interval(means(block_sums(bits, blocks), np.bincount(blocks), draws(100, 2000, seed=0)))
    theirs = bootstrap(
        (bits,),
        np.mean,
        n_resamples=2000,
        method="percentile",
        batch=100,
        random_state=np.random.default_rng(1),
    )
    width = np.ptp(theirs.confidence_interval)
    assert np.array(ours) == pytest.approx(np.array(theirs.confidence_interval), abs=0.25 * width)


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(np.nan), min_size=1, max_size=30), st.floats(0.01, 1)
)
def test_percentiles_are_numpys_without_nan(values, level):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = np.nanpercentile(values, [50 - 50 * level, 50 + 50 * level])
    low, high = interval(np.array(values)[:, None], level)
    assert [low[0], high[0]] == pytest.approx(wanted, nan_ok=True, rel=1e-9, abs=1e-9)


def test_columns_do_not_mix():
    values = np.stack([np.arange(101.0), np.full(101, np.nan), np.arange(101.0) % 2], axis=1)
    values[1::2, 2] = np.nan
    low, high = interval(values, 0.9)
    assert [low[0], high[0]] == pytest.approx([5, 95])
    assert np.isnan([low[1], high[1]]).all()
    assert [low[2], high[2]] == [0, 0]


def test_next_to_infinity_an_end_is_its_outer_neighbour():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert interval(np.array([1.0, 2.0, np.inf, np.inf]), 0.5) == (1.75, np.inf)
        assert interval(np.array([-np.inf, 2.0, 3.0, np.inf]), 0.5) == (-np.inf, np.inf)
        assert interval(np.array([1.0, 2.0, 3.0, np.inf]), 1 / 3) == (2.0, 3.0)
        assert interval(np.full(9, np.inf)) == (np.inf, np.inf)
        assert np.isnan(interval(np.empty((0, 3)))).all()


@given(st.integers(1, 5000), st.floats(0, 1))
def test_an_interval_of_one_accuracy_is_scipys(samples, share):
    hits = round(share * samples)
    low, high = wilson(np.array([hits / samples]), samples)
    slow = binomtest(hits, samples).proportion_ci(0.95, method="wilson")
    assert (low[0], high[0]) == pytest.approx((slow.low, slow.high), abs=1e-12)
