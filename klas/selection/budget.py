"""Which network to deploy within a budget. Costs in any unit, accuracies in [0, 1]."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from klas.selection.curves import front_rows


@dataclass(frozen=True, kw_only=True)
class Pick:
    """What to deploy, and the next steps down and up. All but ``affordable`` are row numbers.

    Attributes:
        best: the most accurate affordable network; of equals the cheapest.
        cheaper: the most accurate of those that cost less than ``best``.
        costlier: the cheapest of those that are more accurate than ``best``.
        affordable: how many networks the choice was from.
    """

    best: int
    cheaper: int | None
    costlier: int | None
    affordable: int


def pick_by_accuracy(costs: ArrayLike, accuracies: ArrayLike, budget: float) -> Pick | None:
    """The most accurate network within a budget; None if none is affordable.

    Args:
        costs: (N,) of every network, in any unit; NaN where not measured.
        accuracies: (N,) in [0, 1]; NaN where not measured.
        budget: the most that it may cost, in the unit of ``costs``.

    Examples:
        >>> pick_by_accuracy([1, 2, 4], [0.6, 0.7, 0.9], budget=3)
        Pick(best=1, cheaper=0, costlier=2, affordable=2)
        >>> pick_by_accuracy([1, 2, 4], [0.6, 0.7, 0.9], budget=0.5) is None
        True
    """
    cost, accuracy = _arrays(costs, accuracies)
    front = front_rows(cost, accuracy)
    step = int(np.searchsorted(cost[front], budget, side="right")) - 1
    if step < 0:
        return None
    return Pick(
        best=int(front[step]),
        cheaper=int(front[step - 1]) if step else None,
        costlier=int(front[step + 1]) if step + 1 < len(front) else None,
        affordable=int(((cost <= budget) & np.isfinite(accuracy)).sum()),
    )


def pick_by_score(
    costs: ArrayLike, scores: ArrayLike, bucket: ArrayLike, budget: float
) -> int | None:
    """Without accuracies: the best score of the costliest bucket within a budget.

    A score only compares networks of similar cost, so of several buckets the costliest is taken.

    Args:
        costs: (N,) of every candidate, in any unit.
        scores: (N,) lower is better; what is not finite is never chosen.
        bucket: (N,) each candidate's bucket by MACs, −1 outside.
        budget: the most that it may cost, in the unit of ``costs``.

    Returns:
        Its row number, the cheapest of equals; None if nothing is affordable.

    Examples:
        >>> pick_by_score([1, 2, 3, 9], [0.1, 0.8, 0.5, 0.2], [0, 1, 1, 2], budget=4)
        2
    """
    cost, score = _arrays(costs, scores)
    label = np.asarray(bucket)
    rows = np.flatnonzero((cost <= budget) & np.isfinite(score) & (label >= 0))
    rows = rows[label[rows] == label[rows].max(initial=-1)]
    return int(rows[np.lexsort((cost[rows], score[rows]))[0]]) if rows.size else None


def _arrays(*values: ArrayLike) -> list[NDArray[np.float64]]:
    return [np.asarray(value, dtype=np.float64) for value in values]
