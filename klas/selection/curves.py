"""Accuracy against cost: envelopes, areas, gain and saving. Accuracies in [0, 1].

A cost may have any unit (MACs, parameters, milliseconds), the same one for all that is compared.

An envelope is a step function: at cost c, the best accuracy among points of cost ≤ c. All
integrals over it are exact sums over its steps, so no grid stands between two methods.

Costs are fixed. Accuracies may have leading axes, such as one of bootstrap replicates: functions
whose names end in ``_replicates`` take them and return arrays, NaN where a figure is undefined.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

Points = tuple[ArrayLike, ArrayLike]
"""Costs (M,) and accuracies (…, M), in any order."""

Steps = tuple[Floats, Floats]
"""Distinct costs (U,), increasing, and the best accuracy so far at each, (…, U)."""


@dataclass(frozen=True)
class Envelope:
    """The steps of a best-so-far curve: from ``costs[k]`` on it is at ``accuracies[k]``.

    Attributes:
        costs: (U,) increasing, in any unit.
        accuracies: (U,) increasing, in [0, 1].
    """

    costs: Floats
    accuracies: Floats

    def at(self, cost: ArrayLike) -> Floats:
        """The best accuracy at each cost (K,): (K,), NaN where no point is affordable."""
        return _at((self.costs, self.accuracies), np.asarray(cost, dtype=np.float64), np.nan)


def envelope(costs: ArrayLike, accuracies: ArrayLike) -> Envelope:
    """The envelope of points: (N,) costs and (N,) accuracies, in any order; NaN is left out.

    Examples:
        >>> curve = envelope([1, 3, 2], [0.6, 0.7, 0.5])  # the last costs more and is worse
        >>> curve.costs, curve.accuracies
        (array([1., 3.]), array([0.6, 0.7]))
        >>> curve.at([0, 2, 3])
        array([nan, 0.6, 0.7])
    """
    cost, accuracy = (np.asarray(v, dtype=np.float64) for v in (costs, accuracies))
    rows = front_rows(cost, accuracy)
    return Envelope(cost[rows], accuracy[rows])


def front_rows(costs: ArrayLike, accuracies: ArrayLike) -> NDArray[np.int64]:
    """The row numbers of the points on the envelope (the Pareto front), by cost.

    A row is on it if no other row that costs at most as much is as accurate. Of rows that are
    equal in both the first stays; a row whose cost or accuracy is NaN is never on it.

    Examples:
        >>> front_rows([1, 3, 2], [0.6, 0.7, 0.5])
        array([0, 1])
    """
    cost, accuracy = (np.asarray(v, dtype=np.float64) for v in (costs, accuracies))
    known = np.flatnonzero(np.isfinite(cost) & np.isfinite(accuracy))
    # By cost, then the best first, then the first.
    order = known[np.lexsort((known, -accuracy[known], cost[known]))]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(accuracy[order])[:-1]])
    return order[accuracy[order] > before[: len(order)]]


@dataclass(frozen=True, kw_only=True)
class Areas:
    """The figures of one method on one pair and tier; None with ``reason`` where undefined.

    Attributes:
        auc: area under the envelope of stitches and pretrained anchors between their costs;
            accuracy scaled so that the cheap anchor is 0 and the costly one 1.
        auc_stitches: the same over the stitches alone; accuracy 0 where none is affordable.
        area_top1: area of ``auc``'s envelope, accuracy unscaled.
        mean_top1: mean accuracy of the stitches.
    """

    auc: float | None
    auc_stitches: float | None
    area_top1: float | None
    mean_top1: float | None
    reason: str | None = None


def areas(
    costs: ArrayLike,
    accuracies: ArrayLike,
    cheap: tuple[float, float],
    costly: tuple[float, float],
) -> Areas:
    """Every area of a method's stitches on one pair.

    Args:
        costs: (M,) of the stitches.
        accuracies: (M,) of the stitches, in [0, 1].
        cheap, costly: (cost, accuracy) of the pretrained anchors.

    Examples:
        One stitch half-way between the anchors, in cost and in accuracy. The envelope of all
        three is 0.5 over the first half of the range and 0.75 over the second:

        >>> areas([2], [0.75], cheap=(0, 0.5), costly=(4, 1.0))
        Areas(auc=0.25, auc_stitches=-0.25, area_top1=0.625, mean_top1=0.75, reason=None)
    """
    figures = area_replicates(costs, accuracies, cheap, costly)
    reason = None
    if not cheap[0] < costly[0]:
        reason = "the anchors cost the same"
    elif not costly[1] > cheap[1]:
        reason = "the costly anchor is not better than the cheap one"
    elif not np.size(accuracies):
        reason = "no stitch was chosen"
    defined = {name: None if np.isnan(value) else float(value) for name, value in figures.items()}
    return Areas(**defined, reason=reason)


def area_replicates(
    costs: ArrayLike,
    accuracies: ArrayLike,
    cheap: tuple[float, ArrayLike],
    costly: tuple[float, ArrayLike],
) -> dict[str, Floats]:
    """The figures of `Areas` by name, for many accuracies at once.

    Args:
        costs: (M,) of the stitches.
        accuracies: (…, M) of the stitches.
        cheap, costly: (cost, accuracy (…)) of the anchors.

    Returns:
        (…) each, NaN where undefined.
    """
    cost, accuracy = np.asarray(costs, np.float64), np.asarray(accuracies, np.float64)
    low, high = cheap[0], costly[0]
    shape = np.broadcast_shapes(accuracy.shape[:-1], np.shape(cheap[1]), np.shape(costly[1]))
    accuracy = np.broadcast_to(accuracy, (*shape, cost.size))
    floor, top = (np.broadcast_to(np.asarray(a[1], np.float64), shape) for a in (cheap, costly))
    undefined = np.full(shape, np.nan)
    mean_top1: Floats = accuracy.mean(axis=-1) if cost.size else undefined
    if not low < high:
        nothing = dict.fromkeys(("auc", "auc_stitches", "area_top1"), undefined)
        return {**nothing, "mean_top1": mean_top1}
    both = np.concatenate([accuracy, floor[..., None], top[..., None]], axis=-1)
    area_top1 = _height(_steps((np.append(cost, [low, high]), both)), low, high)
    alone = _height(_steps((cost, accuracy)), low, high) if cost.size else undefined
    gap = np.where(top > floor, top - floor, np.nan)
    return {
        "auc": (area_top1 - floor) / gap,
        "auc_stitches": (alone - floor) / gap,
        "area_top1": area_top1,
        "mean_top1": mean_top1,
    }


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean and the greatest of a gain (in accuracy) or a saving (a ratio of costs)."""

    mean: float
    greatest: float


def gain(ours: Envelope, theirs: Envelope, low: float, high: float) -> Difference | None:
    """How much more accurate ``ours`` is than ``theirs`` at equal cost, where both exist.

    Args:
        ours, theirs: what is compared.
        low, high: the range of cost.

    Returns:
        The mean over cost and the largest signed difference; None where they share no cost.

    Examples:
        >>> ours, theirs = envelope([0, 2], [0.5, 1.0]), envelope([0], [0.5])
        >>> gain(ours, theirs, low=0, high=4)
        Difference(mean=0.25, greatest=0.5)
    """
    return _difference(gain_replicates(_points(ours), _points(theirs), low, high))


def gain_replicates(ours: Points, theirs: Points, low: float, high: float) -> tuple[Floats, Floats]:
    """(…) each: the mean and the greatest `gain` of points over points.

    NaN where they share no cost.
    """
    differences, lengths = _gains(_steps(ours), _steps(theirs), low, high)
    if not lengths.size:
        undefined = np.full(differences.shape[:-1], np.nan)
        return undefined, undefined
    return differences @ lengths / lengths.sum(), differences.max(axis=-1)


def saving(ours: Envelope, theirs: Envelope) -> Difference | None:
    """How many times cheaper ``ours`` reaches the accuracies that both reach: a cost ratio.

    The mean is over accuracy, from where both begin to where the lower one ends; None where
    they share no range of accuracy.

    Examples:
        >>> ours = envelope([1, 2, 4], [0.5, 0.75, 1.0])
        >>> theirs = envelope([1, 4, 16], [0.5, 0.75, 1.0])
        >>> saving(ours, theirs)  # 4 / 2 up to 0.75, 16 / 4 from there on
        Difference(mean=3.0, greatest=4.0)
    """
    if not (ours.costs.size and theirs.costs.size):
        return None
    return _difference(saving_replicates(_points(ours), _points(theirs)))


def saving_replicates(ours: Points, theirs: Points) -> tuple[Floats, Floats]:
    """(…) each: the mean and the greatest `saving` of points over points, at least one each.

    NaN where they share no range of accuracy.
    """
    ratios, lengths = _savings(_steps(ours), _steps(theirs))
    shared = lengths.any(axis=-1)
    with np.errstate(invalid="ignore"):
        mean = (ratios * lengths).sum(axis=-1) / lengths.sum(axis=-1)
    greatest = np.where(lengths > 0, ratios, -np.inf).max(axis=-1)
    return mean, np.where(shared, greatest, np.nan)


def _points(curve: Envelope) -> Points:
    return curve.costs, curve.accuracies


def _difference(figures: tuple[Floats, Floats]) -> Difference | None:
    """The mean and the greatest of one replicate; None where they are undefined."""
    mean, greatest = map(float, figures)
    return None if np.isnan(mean) else Difference(mean=mean, greatest=greatest)


def _steps(points: Points) -> Steps:
    """Every distinct cost with the best accuracy at it or below."""
    cost, accuracy = (np.asarray(p, dtype=np.float64) for p in points)
    order = np.argsort(cost)
    distinct, first = np.unique(cost[order], return_index=True)
    best = np.maximum.reduceat(accuracy[..., order], first, axis=-1)
    return distinct, np.maximum.accumulate(best, axis=-1)


def _at(steps: Steps, at: Floats, nothing: float) -> Floats:
    """(…, K) the best accuracy at each cost (K,), ``nothing`` where no point is affordable."""
    cost, best = steps
    padded = np.concatenate([np.full((*best.shape[:-1], 1), nothing), best], axis=-1)
    heights: Floats = padded[..., np.searchsorted(cost, at, side="right")]
    return heights


def _cost_of(steps: Steps, accuracy: Floats) -> Floats:
    """(…, K) the least cost that reaches each accuracy (…, K); all are within reach."""
    cost, best = steps
    below = (best[..., None] < accuracy[..., None, :]).sum(axis=-2)
    reached: Floats = cost[below]
    return reached


def _cut(low: float, high: float, costs: Floats) -> tuple[Floats, Floats]:
    """[low, high] cut at the costs inside it: where each part starts, and how long it is."""
    starts = np.unique(np.append(low, costs[(costs > low) & (costs < high)]))
    return starts, np.diff(np.append(starts, high))


def _height(steps: Steps, low: float, high: float) -> Floats:
    """(…) mean height over [low, high]; 0 where no point is affordable."""
    starts, lengths = _cut(low, high, steps[0])
    height: Floats = _at(steps, starts, 0.0) @ lengths / (high - low)
    return height


def _gains(ours: Steps, theirs: Steps, low: float, high: float) -> tuple[Floats, Floats]:
    """Differences of height (…, K) over parts of cost of lengths (K,); no parts, no shared cost."""
    costs = [ours[0], theirs[0]]
    first = max(low, *(c[0] if c.size else high for c in costs))
    starts, lengths = _cut(first, high, np.concatenate(costs))
    starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    return _at(ours, starts, np.nan) - _at(theirs, starts, np.nan), lengths


def _savings(ours: Steps, theirs: Steps) -> tuple[Floats, Floats]:
    """Ratios of cost (…, K) over parts of accuracy of lengths (…, K), 0 for what is not shared."""
    shape = np.broadcast_shapes(ours[1].shape[:-1], theirs[1].shape[:-1])
    best = [np.broadcast_to(b, (*shape, b.shape[-1])) for b in (ours[1], theirs[1])]
    bottom = np.maximum(best[0][..., :1], best[1][..., :1])
    top = np.minimum(best[0][..., -1:], best[1][..., -1:])
    # Steps are closed above: on (a, b] the cost is that of b.
    ends = np.sort(np.minimum(np.concatenate(best, axis=-1), top), axis=-1)
    lengths = np.diff(np.maximum(ends, bottom), axis=-1, prepend=bottom)
    return _cost_of(theirs, ends) / _cost_of(ours, ends), lengths
