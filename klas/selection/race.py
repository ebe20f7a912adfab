"""Racing: more stitches start a joint training than are kept; the worst of each bucket drop out.

Successive halving (Jamieson and Talwalkar, 2016) within buckets of cost: a score only says who may
start, and measured accuracies decide.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bits = NDArray[np.bool_]

ENTRANTS = 3
"""How many stitches of a bucket start, where it has so many."""


class Rung(NamedTuple):
    """A moment of the race.

    Attributes:
        share: of the steps that are done then.
        kept: how many stitches of a bucket go on.
    """

    share: float
    kept: int


RUNGS = (Rung(1 / 4, 2), Rung(1 / 2, 1))
"""Half of the steps are the winners' alone."""

RUNG_SAMPLES = 1_000
"""How many validation samples a rung measures on: ± 1.5 points at 90 %, and quickly done."""


def entrants(
    scores: Sequence[ArrayLike], depths: ArrayLike, macs: ArrayLike, bucket: ArrayLike
) -> Bits:
    """(N,) which candidates start: the best of their bucket by each score, then what differs most.

    Where scores agree, places are left, and each goes to the candidate whose depths are farthest
    from those of all that have one. Of a bucket in which no score proposes any, nothing starts.

    Args:
        scores: K times (N,), lower is better; what is infinite or NaN is not proposed.
        depths: (N, 2) how deep a stitch leaves its source and enters its target, in [0, 1].
        macs: (N,) costs; of equals the cheaper one starts.
        bucket: (N,) the bucket of each candidate, −1 outside.

    Examples:
        Both scores like the first; the farthest from it comes next:

        >>> depths = [[0.2, 0.2], [0.3, 0.3], [0.9, 0.9], [0.7, 0.7]]
        >>> entrants([[1, 2, 3, 4], [1, 4, 3, 2]], depths, [5, 6, 7, 8], [0, 0, 0, 0])
        array([ True, False,  True,  True])
    """
    label, place = np.asarray(bucket), np.asarray(depths, dtype=np.float64)
    starts = np.zeros(len(label), dtype=bool)
    for b in range(label.max(initial=-1) + 1):
        rows = np.flatnonzero(label == b)
        rows = rows[np.argsort(np.asarray(macs)[rows], kind="stable")]
        taken: list[int] = []
        for score in scores:
            values = np.asarray(score, dtype=np.float64)[rows]
            if np.isfinite(values).any():
                best = int(rows[np.nanargmin(np.where(np.isfinite(values), values, np.inf))])
                taken += [best] * (best not in taken)
        taken = taken[:ENTRANTS]
        while taken and len(taken) < min(ENTRANTS, len(rows)):
            apart = np.linalg.norm(place[rows, None] - place[None, taken], axis=-1).min(axis=1)
            apart[np.isin(rows, taken)] = -1
            # Rounded: of what is equally far the cheaper one starts, whatever the machine rounds.
            taken.append(int(rows[np.argmax(apart.round(9))]))
        starts[taken] = True
    return starts


def survivors(
    accuracy: ArrayLike, macs: ArrayLike, bucket: ArrayLike, alive: ArrayLike, kept: int
) -> Bits:
    """(N,) which stitches go on after a rung: of every bucket the most accurate.

    Args:
        accuracy: (N,) measured at the rung; what is NaN drops first.
        macs: (N,) costs; of equals the cheaper one goes on.
        bucket: (N,) each stitch's bucket.
        alive: (N,) which are still in the race.
        kept: how many of a bucket go on.

    Examples:
        >>> survivors([0.5, 0.7, 0.6, 0.1], [1, 2, 3, 9], [0, 0, 0, 1], [True] * 4, kept=2)
        array([False,  True,  True,  True])
    """
    value, label = np.asarray(accuracy, dtype=np.float64), np.asarray(bucket)
    order = np.lexsort((np.asarray(macs), np.where(np.isnan(value), np.inf, -value)))
    order = order[np.asarray(alive, dtype=bool)[order]]
    on = np.zeros(len(label), dtype=bool)
    for b in np.unique(label):
        on[order[label[order] == b][:kept]] = True
    return on


def rung_steps(steps: int) -> list[list[int]]:
    """The rungs of a training, [after how many steps, how many of a bucket go on].

    Examples:
        >>> rung_steps(2000)
        [[500, 2], [1000, 1]]
    """
    return [[round(rung.share * steps), rung.kept] for rung in RUNGS]
