"""How well scores predict accuracies: rank correlation, and hits on the best of every bucket.

Lower scores and higher accuracies are better. The last axis is the candidates; axes before it
broadcast, so that methods (K, 1, N) meet replicates (R, N) in one call, which ranks the
accuracies once. Candidates outside every bucket (−1) take no part where buckets are given.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from klas.errors import SelectionError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bits = NDArray[np.bool_]

LEAST_TO_RANK = 3
LEAST_TO_CHOOSE = 2


def spearman(scores: ArrayLike, accuracy: ArrayLike) -> Floats:
    """Spearman's ρ of score and −accuracy: 1 where low scores go with high accuracies.

    Ties share their mean rank; infinite scores are ties, and come last.

    Args:
        scores, accuracy: (…, N); leading axes broadcast.

    Returns:
        (…), NaN where scores or accuracies are constant or N < 2.

    Raises:
        SelectionError: a score or an accuracy is NaN.

    Examples:
        >>> float(spearman([1.0, 2.0, 3.0], [0.9, 0.8, 0.7]))
        1.0
        >>> float(spearman([1.0, 2.0, 3.0], [0.7, 0.9, 0.8]))
        -0.5
    """
    one_bucket = np.zeros(np.shape(accuracy)[-1], dtype=np.int64)
    rho = _rho(scores, accuracy, _groups(one_bucket, 2))
    return rho[..., 0] if rho.shape[-1] else np.full(rho.shape[:-1], np.nan)


def spearman_within(
    scores: ArrayLike, accuracy: ArrayLike, bucket: ArrayLike
) -> tuple[Floats, Integers]:
    """The mean of `spearman` within buckets, and how many candidates it rests on; both (…).

    A choice is made among candidates of similar cost, so an agreement that only says that costly
    stitches are better is worth nothing: this one cannot see cost. Buckets of fewer than three
    candidates say only yes or no and are left out. The others are weighted by their number of
    candidates, because the variance of ρ falls like 1/(n − 1): a bucket of three must not weigh
    as much as one of twenty. A bucket where ρ is undefined does not count.

    Args:
        scores, accuracy: (…, N); leading axes broadcast.
        bucket: (N,) the bucket of each candidate, −1 outside.

    Raises:
        SelectionError: a score or an accuracy in these buckets is NaN.
    """
    groups = _groups(bucket, LEAST_TO_RANK)
    rho = _rho(scores, accuracy, groups)  # (…, G)
    candidates = ~np.isnan(rho) * groups.sizes
    return weighted_mean(rho, candidates), candidates.sum(axis=-1)


def weighted_mean(rho: ArrayLike, candidates: ArrayLike) -> Floats:
    """(…) the mean of ρ over the last axis, weighted by the candidates that each rests on.

    Of several pairs' `spearman_within` it is that of all their buckets together, so a pair with
    nothing but a bucket of three weighs no more than those three.

    Args:
        rho: (…, P); NaN where undefined, which does not count.
        candidates: (…, P) how many each ρ rests on.

    Returns:
        NaN where nothing counts.

    Examples:
        >>> float(weighted_mean([1.0, 0.0, np.nan], [3, 9, 5]))
        0.25
    """
    value = np.asarray(rho, dtype=np.float64)
    weight = np.where(np.isnan(value), 0, candidates)
    with np.errstate(invalid="ignore"):
        mean: Floats = (np.nan_to_num(value) * weight).sum(axis=-1) / weight.sum(axis=-1)
    return mean


def overlap(scores: ArrayLike, accuracy: ArrayLike, bucket: ArrayLike) -> Floats:
    """(…) in how many buckets of at least two the lowest score has the highest accuracy.

    Where several candidates share the best accuracy, each is a hit. Where several share the
    lowest score, the bucket counts by the share of them that are best: the expectation of a
    random tie-break. A bucket with only infinite scores chooses nothing and is a miss.

    Args:
        scores, accuracy: (…, N); leading axes broadcast.
        bucket: (N,) the bucket of each candidate, −1 outside.

    Raises:
        SelectionError: a score or an accuracy in these buckets is NaN.

    Examples:
        The first bucket's lowest score is its most accurate candidate, the second's is not:

        >>> float(overlap([1.0, 2.0, 1.0, 2.0], [0.9, 0.8, 0.6, 0.7], bucket=[0, 0, 1, 1]))
        1.0
    """
    groups = _groups(bucket, LEAST_TO_CHOOSE)
    score = groups.numbers(scores, "scores")
    lowest = np.minimum.reduceat(score, groups.starts, axis=-1)  # (…, G)
    chosen = (score == groups.spread(lowest)) & (score < np.inf)
    best = groups.total(chosen & _best(accuracy, groups))
    buckets: Floats = (best / np.maximum(groups.total(chosen), 1)).sum(axis=-1)
    return buckets


def overlap_buckets(bucket: ArrayLike) -> int:
    """How many buckets `overlap`, `chance` and `containment` count: those of at least two."""
    return len(_groups(bucket, LEAST_TO_CHOOSE).sizes)


def chance(accuracy: ArrayLike, bucket: ArrayLike) -> Floats:
    """(…) the `overlap` that a random choice in every bucket has in expectation.

    Raises:
        SelectionError: an accuracy in these buckets is NaN.

    Examples:
        >>> float(chance([0.9, 0.8, 0.7, 0.7], bucket=[0, 0, 1, 1]))  # 1 of 2, and 2 of 2
        1.5
    """
    groups = _groups(bucket, LEAST_TO_CHOOSE)
    buckets: Floats = (groups.total(_best(accuracy, groups)) / groups.sizes).sum(axis=-1)
    return buckets


def containment(chosen: ArrayLike, accuracy: ArrayLike, bucket: ArrayLike) -> Integers:
    """(…) in how many buckets of at least two a set holds one of the highest accuracy.

    Args:
        chosen: (…, N) the set's members.
        accuracy: (…, N); leading axes broadcast.
        bucket: (N,) the bucket of each candidate, −1 outside.

    Raises:
        SelectionError: an accuracy in these buckets is NaN.

    Examples:
        >>> chosen = [True, True, True, False]
        >>> int(containment(chosen, [0.9, 0.8, 0.6, 0.7], bucket=[0, 0, 1, 1]))
        1
    """
    groups = _groups(bucket, LEAST_TO_CHOOSE)
    best = np.asarray(chosen, dtype=bool)[..., groups.columns] & _best(accuracy, groups)
    buckets: Integers = (groups.total(best) > 0).sum(axis=-1)
    return buckets


class _Groups(NamedTuple):
    """The M candidates of G buckets that are large enough, bucket after bucket."""

    columns: Integers  # (M,) which candidates
    starts: Integers  # (G,) where each bucket begins among them
    sizes: Integers  # (G,)

    def numbers(self, values: ArrayLike, what: str) -> Floats:
        """(…, M) of (…, N); NaN is refused."""
        members = np.asarray(values, dtype=np.float64)[..., self.columns]
        missing = np.isnan(members)
        if missing.any():
            raise SelectionError(
                f"{missing.sum()} of {missing.size} {what} are NaN: agreement needs them measured "
                "for every candidate"
            )
        return members

    def total(self, values: NDArray[Any]) -> Floats:
        """(…, G) sums over buckets of (…, M) numbers or bits."""
        sums: Floats = np.add.reduceat(values, self.starts, axis=-1, dtype=np.float64)
        return sums

    def spread(self, values: Floats) -> Floats:
        """(…, M): every bucket's value of (…, G), at each of its candidates."""
        return np.repeat(values, self.sizes, axis=-1)


def _groups(bucket: ArrayLike, least: int) -> _Groups:
    """The candidates of the buckets that hold at least ``least``."""
    label = np.asarray(bucket)
    inside = np.flatnonzero(label >= 0)
    _, place, sizes = np.unique(label[inside], return_inverse=True, return_counts=True)
    large = sizes >= least
    columns = inside[np.argsort(place, kind="stable")]
    columns = columns[np.repeat(large, sizes)]
    sizes = sizes[large]
    return _Groups(columns, np.cumsum(sizes) - sizes, sizes)


def _best(accuracy: ArrayLike, groups: _Groups) -> Bits:
    """(…, M) which candidates have their bucket's highest accuracy."""
    value = groups.numbers(accuracy, "accuracies")
    best: Bits = value == groups.spread(np.maximum.reduceat(value, groups.starts, axis=-1))
    return best


def _rho(scores: ArrayLike, accuracy: ArrayLike, groups: _Groups) -> Floats:
    """(…, G) ρ of score and −accuracy in every bucket; NaN where either is constant."""
    score = _centred_ranks(groups.numbers(scores, "scores"), groups)
    merit = _centred_ranks(-groups.numbers(accuracy, "accuracies"), groups)
    spread = groups.total(score**2) * groups.total(merit**2)
    with np.errstate(invalid="ignore"):
        rho: Floats = groups.total(score * merit) / np.sqrt(spread)
    return rho


def _centred_ranks(values: Floats, groups: _Groups) -> Floats:
    """(…, M) each value's rank in its bucket, ties sharing their mean, minus the mean rank.

    All are halves of whole numbers, so sums of their products are exact.
    """
    member = np.repeat(np.arange(len(groups.sizes)), groups.sizes)  # (M,)
    order = np.lexsort((values, np.broadcast_to(member, values.shape)), axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    place = np.arange(len(member))
    begins = np.ones(values.shape, dtype=bool)  # a run of equals
    begins[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    begins[..., groups.starts] = True
    ends = np.roll(begins, -1, axis=-1)  # the last place ends, because the first one begins
    first = np.maximum.accumulate(np.where(begins, place, 0), axis=-1)
    last = np.minimum.accumulate(np.where(ends, place, len(place))[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=-1)
    middle = groups.starts + (groups.sizes - 1) / 2
    centred: Floats = ranks - groups.spread(middle)
    return centred
