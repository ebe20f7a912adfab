"""Intervals by resampling blocks of validation samples: what another validation set would change.

The samples lie in one seeded permutation, so a block of neighbours is a random sample of the data.
Sums per block are all that has to be kept: every replicate is a product with how often each
block was drawn, and methods that are compared are resampled by the same draws.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCKS = 100
WILSON_Z = 1.959963984540054  # the normal distribution's 97.5 %


def block_of(samples: int) -> Integers:
    """(N,) the block of every sample of the permutation: min(100, N) contiguous blocks.

    Their sizes differ by at most one.
    """
    return np.arange(samples, dtype=np.int64) * min(BLOCKS, samples) // max(samples, 1)


def block_sums(values: ArrayLike, blocks: Integers) -> Floats:
    """(…, B) sums over every block, of bits or numbers (…, N); ``blocks`` is `block_of`'s (N,)."""
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    # In float64, because half-precision numbers would overflow in their own type.
    sums: Floats = np.add.reduceat(np.asarray(values), starts, axis=-1, dtype=np.float64)
    return sums


def draws(blocks: int, replicates: int, seed: int) -> Integers:
    """(R, B) how often each of B blocks is drawn when B are drawn with replacement."""
    drawn = np.random.default_rng(seed).integers(0, blocks, (replicates, blocks))
    rows = np.arange(replicates)[:, None] * blocks
    counts = np.bincount((rows + drawn).ravel(), minlength=replicates * blocks)
    return counts.reshape(replicates, blocks).astype(np.int64)


def means(sums: ArrayLike, sizes: ArrayLike, drawn: Integers) -> Floats:
    """(R, …) the mean over the drawn samples, of every row of ``sums``.

    Of counted bits these are exact up to one rounding, so equal accuracies stay equal.

    Args:
        sums: (…, B) sums over blocks.
        sizes: (B,) samples in each block.
        drawn: (R, B) how often each block is drawn.
    """
    times = drawn.astype(np.float64)  # products of floats are fast, of integers slow
    total = np.tensordot(times, np.asarray(sums, dtype=np.float64), axes=(1, -1))  # (R, …)
    size = times @ np.asarray(sizes, dtype=np.float64)  # (R,)
    found: Floats = total / size.reshape(-1, *[1] * (total.ndim - 1))
    return found


def interval(values: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """The percentile interval of replicates (R, …): its two ends, each (…).

    Replicates where the figure is undefined (NaN) are left out; NaN where all are. Percentiles
    are interpolated linearly, but next to an infinite replicate not at all: there an end is the
    outer one of its two neighbours.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=0)  # NaN comes last
    if not len(ordered):
        nothing = np.full(ordered.shape[1:], np.nan)
        return nothing, nothing
    last = (~np.isnan(ordered)).sum(axis=0) - 1

    def end(share: float, outer: int) -> Floats:
        place = share * np.maximum(last, 0)
        below, above = np.floor(place), np.ceil(place)
        near = [
            np.take_along_axis(ordered, at[None].astype(np.int64), axis=0)[0]
            for at in (below, above)
        ]
        with np.errstate(invalid="ignore"):  # inf − inf, which is not taken
            between = near[0] + (near[1] - near[0]) * (place - below)
        found: Floats = np.where(np.isinf(near[0]) | np.isinf(near[1]), near[outer], between)
        return found

    return end((1 - level) / 2, 0), end((1 + level) / 2, 1)


def wilson(accuracy: ArrayLike, samples: int) -> tuple[Floats, Floats]:
    """Where 95 % intervals of accuracies over ``samples`` begin and end, both (…).

    The score interval of a binomial proportion (Wilson 1927): at no cost beside the figure itself,
    where replicates are not at hand. It says how far another draw of samples may move one
    accuracy, not how a difference of two on the same samples may move.
    """
    p = np.asarray(accuracy, dtype=np.float64)
    square = WILSON_Z**2 / samples
    middle = (p + square / 2) / (1 + square)
    half = np.sqrt(p * (1 - p) * square + square**2 / 4) / (1 + square)
    low, high = middle - half, middle + half
    return low, high
