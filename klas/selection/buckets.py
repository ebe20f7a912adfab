"""Buckets of cost, and which candidates τ lets through (poster, step 3)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from klas.errors import SelectionError

Binning = Literal["width", "count"]
TauMode = Literal["relative", "absolute"]
OUTSIDE = -1


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was chosen from N candidates in B buckets.

    Attributes:
        edges: (B + 1,) bounds in MACs; bucket b is [edges[b], edges[b + 1]), the last closed.
        bucket: (N,) each candidate's bucket, or −1 outside the range.
        chosen: (N,) whether it was taken.
        lowest: (B,) each bucket's lowest score; NaN without candidates, inf without finite ones.
    """

    edges: NDArray[np.float64]
    bucket: NDArray[np.int64]
    chosen: NDArray[np.bool_]
    lowest: NDArray[np.float64]


def bucket_edges(
    macs: ArrayLike, low: float, high: float, buckets: int, binning: Binning = "width"
) -> NDArray[np.float64]:
    """(B + 1,) bounds between ``low`` and ``high`` MACs: equally wide, or equally full.

    ``count`` puts the bounds at quantiles of the candidates inside the range, so candidates
    of equal cost can still make the buckets uneven.

    Args:
        macs: (N,) costs of the candidates.
        low, high: the range of cost in MACs.
        buckets: B.
        binning: equal ``width`` or equal ``count``.

    Raises:
        SelectionError: ``buckets`` is below 1.

    Examples:
        >>> bucket_edges([1, 2, 3, 9], 0, 10, 2)
        array([ 0.,  5., 10.])
        >>> bucket_edges([1, 2, 3, 9], 0, 10, 2, "count")
        array([ 0. ,  2.5, 10. ])
    """
    if buckets < 1:
        raise SelectionError(f"buckets = {buckets}: at least 1 is needed")
    edges = low + (high - low) / buckets * np.arange(buckets + 1, dtype=np.float64)
    if binning == "count":
        inside = np.asarray(macs, dtype=np.float64)
        inside = inside[(inside >= low) & (inside <= high)]
        if inside.size:
            edges = np.asarray(np.quantile(inside, np.linspace(0, 1, buckets + 1)), np.float64)
    edges[0], edges[-1] = low, high
    return edges


def assign_buckets(
    macs: ArrayLike, edges: NDArray[np.float64], binning: Binning = "width"
) -> NDArray[np.int64]:
    """(N,) the bucket of each cost, or −1 outside [edges[0], edges[-1]].

    Args:
        macs: (N,) costs of the candidates.
        edges: (B + 1,) of :func:`bucket_edges`.
        binning: as for :func:`bucket_edges`.

    Examples:
        >>> assign_buckets([-1, 0, 4, 5, 10], np.array([0.0, 5.0, 10.0]))
        array([-1,  0,  0,  1,  1])
    """
    cost = np.asarray(macs, dtype=np.float64)
    low, high, buckets = edges[0], edges[-1], len(edges) - 1
    if binning == "width":
        # By division, not by comparing with rounded edges: anyone can recompute it.
        width = (high - low) / buckets
        index = np.floor((cost - low) / width) if width else np.zeros_like(cost)
    else:
        index = np.searchsorted(edges, cost, side="right") - 1.0
    index = np.minimum(index, buckets - 1)
    return np.where((cost >= low) & (cost <= high), index, OUTSIDE).astype(np.int64)


def select(
    scores: ArrayLike,
    macs: ArrayLike,
    *,
    low: float,
    high: float,
    tau: float = 0.05,
    tau_mode: TauMode = "relative",
    buckets: int = 20,
    binning: Binning = "width",
) -> Selection:
    """The best of every bucket, and all that τ lets through beside it (poster, step 3).

    :func:`limits` says how far τ reaches. A bucket with only infinite scores chooses nothing.

    Args:
        scores: (N,) lower is better; ``inf`` is never chosen.
        macs: (N,) costs.
        low, high: the range of cost, usually the anchors' MACs.
        tau: the tolerance, 0 or more.
        tau_mode: whether τ is ``relative`` to a bucket's lowest score or an ``absolute`` score.
        buckets: B.
        binning: buckets of equal ``width`` or of equal ``count``.

    Raises:
        SelectionError: τ is negative or not finite, a score is NaN, or there is no bucket.

    Examples:
        Two buckets, [0, 5) and [5, 10], and whatever lies within 5 % of their lowest scores:

        >>> selection = select(
        ...     [1.0, 1.04, 1.2, 3.0, 2.0], [1, 2, 3, 7, 8], low=0, high=10, buckets=2
        ... )
        >>> selection.bucket
        array([0, 0, 0, 1, 1])
        >>> selection.chosen
        array([ True,  True, False, False,  True])
    """
    if not (np.isfinite(tau) and tau >= 0):
        raise SelectionError(f"tau = {tau}: a tolerance is a finite number, 0 or more")
    score = np.asarray(scores, dtype=np.float64)
    _refuse_nan(score)
    edges = bucket_edges(macs, low, high, buckets, binning)
    bucket = assign_buckets(macs, edges, binning)
    lowest = np.full(buckets, np.nan)
    for b in np.unique(bucket[bucket >= 0]):
        lowest[b] = score[bucket == b].min()
    best = np.where(bucket >= 0, lowest[bucket], np.nan)
    chosen = (bucket >= 0) & np.isfinite(score) & (score <= limits(best, tau, tau_mode))
    return Selection(edges=edges, bucket=bucket, chosen=chosen, lowest=lowest)


def limits(lowest: ArrayLike, tau: float, tau_mode: TauMode) -> NDArray[np.float64]:
    """The highest score that each bucket still takes, in the shape of ``lowest``.

    Relative (the paper's practice): score ≤ (1 + τ) · lowest. Absolute (the poster's formula):
    score ≤ τ. The lowest itself is always taken: an unbiased estimator of a distance may come out
    below 0, where (1 + τ) · lowest lies below the lowest.

    Examples:
        >>> limits([1.0, 4.0], 0.5, "relative")
        array([1.5, 6. ])
        >>> limits([1.0, 4.0], 2.0, "absolute")
        array([2., 4.])
    """
    best = np.asarray(lowest, dtype=np.float64)
    bound = (1 + tau) * best if tau_mode == "relative" else np.full_like(best, tau)
    return np.maximum(best, bound)


def matched(scores: ArrayLike, bucket: ArrayLike, counts: ArrayLike) -> NDArray[np.bool_]:
    """A rival's fair share: in every bucket as many candidates as the other method took there.

    These are the lowest finite scores, and among equal scores the earlier candidates. A bucket
    with fewer finite scores gives fewer.

    Args:
        scores: (N,) lower is better.
        bucket: (N,) each candidate's bucket, or −1 outside.
        counts: (B,) how many to take in each bucket.

    Returns:
        (N,) whether it was taken.

    Raises:
        SelectionError: a score in a bucket is NaN.

    Examples:
        >>> matched([3.0, 1.0, 2.0, 5.0], [0, 0, 0, 1], counts=[2, 1])
        array([False,  True,  True,  True])
    """
    score, label = np.asarray(scores, dtype=np.float64), np.asarray(bucket)
    _refuse_nan(score[label >= 0])
    chosen = np.zeros(score.shape, dtype=bool)
    for b, count in enumerate(np.asarray(counts)):
        members = np.flatnonzero((label == b) & np.isfinite(score))
        chosen[members[np.argsort(score[members], kind="stable")][:count]] = True
    return chosen


def _refuse_nan(scores: NDArray[np.float64]) -> None:
    """A score that was not computed cannot be compared."""
    if np.isnan(scores).any():
        raise SelectionError(f"{np.isnan(scores).sum()} of {scores.size} scores are NaN")
