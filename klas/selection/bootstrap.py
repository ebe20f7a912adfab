"""Intervals by resampling blocks of validation samples: what another validation set would change.

The samples lie in one seeded permutation, so a block of neighbours is a random sample of the data.
Only sums per block have to be kept: a replicate is their product with how often each block was
drawn, and methods that are compared share the same draws.
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

    Examples:
        >>> block_of(300)[:6]
        array([0, 0, 0, 1, 1, 1])
        >>> block_of(300).max()
        np.int64(99)
    """
    return np.arange(samples, dtype=np.int64) * min(BLOCKS, samples) // max(samples, 1)


def block_sums(values: ArrayLike, blocks: Integers) -> Floats:
    """(…, B) sums over every block, of bits or numbers (…, N).

    Args:
        values: (…, N).
        blocks: (N,) of `block_of`.

    Examples:
        >>> block_sums([1, 2, 3, 4], np.array([0, 0, 1, 1]))
        array([3., 7.])
    """
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    # In float64, because half-precision numbers would overflow in their own type.
    sums: Floats = np.add.reduceat(np.asarray(values), starts, axis=-1, dtype=np.float64)
    return sums


def draws(blocks: int, replicates: int, seed: int) -> Integers:
    """(R, B) how often each of B blocks is drawn when B are drawn with replacement.

    Examples:
        >>> draws(blocks=4, replicates=3, seed=0).sum(axis=1)
        array([4, 4, 4])
    """
    drawn = np.random.default_rng(seed).integers(0, blocks, (replicates, blocks))
    rows = np.arange(replicates)[:, None] * blocks
    counts = np.bincount((rows + drawn).ravel(), minlength=replicates * blocks)
    return counts.reshape(replicates, blocks).astype(np.int64)


def means(sums: ArrayLike, sizes: ArrayLike, drawn: Integers) -> Floats:
    """(R, …) the mean over the drawn samples, of every row of ``sums``.

    Means of counted bits are exact up to one rounding, so equal accuracies stay equal.

    Args:
        sums: (…, B) sums over blocks.
        sizes: (B,) samples in each block.
        drawn: (R, B) how often each block is drawn.

    Examples:
        >>> means([3.0, 1.0], sizes=[4, 4], drawn=np.array([[1, 1], [2, 0]]))
        array([0.5 , 0.75])
    """
    times = drawn.astype(np.float64)  # products of floats are fast, of integers slow
    total = np.tensordot(times, np.asarray(sums, dtype=np.float64), axes=(1, -1))  # (R, …)
    size = times @ np.asarray(sizes, dtype=np.float64)  # (R,)
    mean: Floats = total / size.reshape(-1, *[1] * (total.ndim - 1))
    return mean


def interval(values: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """The percentile interval of replicates (R, …): its two ends, each (…).

    Undefined replicates (NaN) are left out, and the ends are NaN where all are. Percentiles are
    interpolated linearly, but never towards an infinite replicate: there an end is the outer one
    of its two neighbours.

    Args:
        values: (R, …).
        level: the share of the replicates that lies inside.

    Examples:
        >>> low, high = interval(np.arange(101), level=0.5)
        >>> float(low), float(high)
        (25.0, 75.0)
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
        percentile: Floats = np.where(np.isinf(near[0]) | np.isinf(near[1]), near[outer], between)
        return percentile

    return end((1 - level) / 2, 0), end((1 + level) / 2, 1)


def wilson(accuracy: ArrayLike, samples: int) -> tuple[Floats, Floats]:
    """The ends of 95 % intervals of accuracies over ``samples``, both (…).

    The score interval of a binomial proportion (Wilson 1927), for where there are no replicates:
    it needs nothing but the figure. It says how far another draw of samples may move one
    accuracy, not how far the difference of two on the same samples may move.

    Args:
        accuracy: (…) in [0, 1].
        samples: how many it was measured on.

    Examples:
        >>> [round(float(end), 3) for end in wilson(0.5, 100)]
        [0.404, 0.596]
    """
    p = np.asarray(accuracy, dtype=np.float64)
    square = WILSON_Z**2 / samples
    middle = (p + square / 2) / (1 + square)
    half = np.sqrt(p * (1 - p) * square + square**2 / 4) / (1 + square)
    low, high = middle - half, middle + half
    return low, high
