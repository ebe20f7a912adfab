"""Accuracy against cost: envelopes, areas, gain and saving. Costs in MACs, accuracies in [0, 1].

An envelope is a step function: at cost c, the best accuracy among points of cost ≤ c. All
integrals over it are exact sums over its steps, so no grid stands between two methods.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Envelope:
    """Steps of a best-so-far curve: from ``costs[k]`` on, ``accuracies[k]``. Both increase."""

    costs: Floats
    accuracies: Floats

    def at(self, cost: ArrayLike) -> Floats:
        """The best accuracy at each cost; NaN where no point is affordable."""
        index = np.searchsorted(self.costs, np.asarray(cost, dtype=np.float64), side="right")
        return np.concatenate([[np.nan], self.accuracies])[index]

    def cost_of(self, accuracy: ArrayLike) -> Floats:
        """The least cost that reaches each accuracy; inf where none does."""
        index = np.searchsorted(self.accuracies, np.asarray(accuracy, np.float64), side="left")
        return np.concatenate([self.costs, [np.inf]])[index]


def envelope(costs: ArrayLike, accuracies: ArrayLike) -> Envelope:
    """The envelope of points: (N,) costs and (N,) accuracies, in any order."""
    cost = np.asarray(costs, dtype=np.float64)
    accuracy = np.asarray(accuracies, dtype=np.float64)
    order = np.lexsort((-accuracy, cost))
    cost, accuracy = cost[order], accuracy[order]
    rising = accuracy > np.concatenate([[-np.inf], np.maximum.accumulate(accuracy)[:-1]])
    return Envelope(cost[rising], accuracy[rising])


def area(curve: Envelope, low: float, high: float, *, nothing: float) -> float:
    """Mean height of the envelope over costs [low, high] (cost scaled to [0, 1]).

    ``nothing`` is the height where no point is affordable.
    """
    inside = (curve.costs > low) & (curve.costs < high)
    starts = np.concatenate([[low], curve.costs[inside]])
    lengths = np.diff(np.concatenate([starts, [high]]))
    heights = np.nan_to_num(curve.at(starts), nan=nothing)
    return float((heights * lengths).sum() / (high - low))


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
    """Every area of a method's stitches; ``cheap`` and ``costly`` are (MACs, accuracy)."""
    cost = np.asarray(costs, dtype=np.float64)
    accuracy = np.asarray(accuracies, dtype=np.float64)
    mean = float(accuracy.mean()) if accuracy.size else None
    (low, floor), (high, top) = cheap, costly
    if not low < high:
        reason = "the anchors cost the same"
        return Areas(auc=None, auc_stitches=None, area_top1=None, mean_top1=mean, reason=reason)
    both = envelope(np.append(cost, [low, high]), np.append(accuracy, [floor, top]))
    area_top1 = area(both, low, high, nothing=0.0)
    if not top > floor:
        reason = "the costly anchor is not better than the cheap one"
        return Areas(
            auc=None, auc_stitches=None, area_top1=area_top1, mean_top1=mean, reason=reason
        )

    def scaled(value: float) -> float:
        return (value - floor) / (top - floor)

    alone = envelope(cost, accuracy)
    return Areas(
        auc=scaled(area_top1),
        auc_stitches=scaled(area(alone, low, high, nothing=0.0)) if cost.size else None,
        area_top1=area_top1,
        mean_top1=mean,
        reason=None if cost.size else "no stitch was chosen",
    )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean and the greatest value."""

    mean: float
    greatest: float


def gain(ours: Envelope, theirs: Envelope, low: float, high: float) -> Difference | None:
    """Accuracy of ``ours`` above ``theirs`` at equal cost, over [low, high] where both exist.

    None where they share no cost. ``greatest`` is the largest signed difference.
    """
    low = (
        max(low, ours.costs[0], theirs.costs[0]) if ours.costs.size and theirs.costs.size else high
    )
    if not low < high:
        return None
    steps = np.concatenate([ours.costs, theirs.costs])
    starts = np.unique(np.concatenate([[low], steps[(steps > low) & (steps < high)]]))
    lengths = np.diff(np.append(starts, high))
    differences = ours.at(starts) - theirs.at(starts)
    mean = float((differences * lengths).sum() / (high - low))
    return Difference(mean=mean, greatest=float(differences.max()))


def saving(ours: Envelope, theirs: Envelope) -> Difference | None:
    """How many times cheaper ``ours`` reaches the accuracies that both reach: a cost ratio.

    The mean is over accuracy, from where both begin to where the lower one ends; None where
    they share no range of accuracy.
    """
    if not (ours.costs.size and theirs.costs.size):
        return None
    bottom = max(ours.accuracies[0], theirs.accuracies[0])
    top = min(ours.accuracies[-1], theirs.accuracies[-1])
    if not bottom < top:
        return None
    steps = np.concatenate([ours.accuracies, theirs.accuracies])
    # Steps are closed above: on (a, b] the cost is that of b.
    ends = np.unique(np.append(steps[(steps > bottom) & (steps < top)], top))
    lengths = np.diff(np.concatenate([[bottom], ends]))
    ratios = theirs.cost_of(ends) / ours.cost_of(ends)
    mean = float((ratios * lengths).sum() / (top - bottom))
    return Difference(mean=mean, greatest=float(ratios.max()))
