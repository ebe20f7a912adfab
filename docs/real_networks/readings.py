"""Readings of the score: what else could be made of Θ, CKA and the rest, and how they are judged.

All are functions of a pair's scores document. They are judged by leaving pairs out: what is best on
the others says nothing about a pair that it was not chosen by.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from klas.results.pair import Pair
from klas.selection.agreement import overlap, overlap_buckets, spearman, spearman_within

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def theta(pair: Pair) -> Floats:
    """(n_f + 1, n_g + 1) Θ of every source cut with every target cut."""
    return np.array(pair.raw["theta"], dtype=np.float64)


def theta_target(pair: Pair) -> Floats:
    """(n_g + 1, n_g + 1) Θ of the target's cuts with each other."""
    return np.array(pair.raw["theta_target"], dtype=np.float64)


def stage_of_blocks(pair: Pair) -> Integers:
    """(n_g,) the stage of every block of the target: a new one begins where the grid changes."""
    grids = [layout["grid"] for layout in pair.target["layouts"]]
    return np.cumsum([here != after for here, after in pairwise(grids)])


def _stage_median(pair: Pair) -> Floats:
    """Ω over Σ, Σ measured in its own stage's median."""
    i, j = pair.stitches.T
    sigma = np.diagonal(theta_target(pair), offset=1)
    stage = stage_of_blocks(pair)
    median = np.array([np.median(sigma[stage == own]) for own in stage])
    return theta(pair)[i, j] / (sigma / median)[j]


def _like_resolution(pair: Pair) -> Floats:
    """Γ where source and target have the same relative resolution, else infinite."""

    def relative(anchor: Mapping) -> Floats:
        size = anchor["transform"]["input_size"][-1]
        return np.array([layout["grid"][-1] / size for layout in anchor["layouts"]])

    i, j = pair.stitches.T
    like = np.isclose(relative(pair.source)[i], relative(pair.target)[j], rtol=0.2)
    return np.where(like, pair.scores("kl"), np.inf)


def _tail(pair: Pair) -> Floats:
    """Ω over the capacity of all that follows, Θ(P_j, P_n)."""
    i, j = pair.stitches.T
    return theta(pair)[i, j] / theta_target(pair)[j, -1]


def _ranks(*metrics: str) -> Callable[[Pair], Floats]:
    """The mean of the ranks by some scores, over the candidates of the space."""

    def mean(pair: Pair) -> Floats:
        total = np.full(len(pair.macs), np.nan)
        inside = pair.in_space
        total[inside] = np.mean([rankdata(pair.scores(m)[inside]) for m in metrics], axis=0)
        return total

    return mean


READINGS: dict[str, Callable[[Pair], Floats]] = {
    "Γ": lambda pair: pair.scores("kl"),
    "Γ, Σ over its stage's median": _stage_median,
    "Γ, like resolution alone": _like_resolution,
    "Ω / Θ(P_j, P_n)": _tail,
    "Ω": lambda pair: pair.scores("theta"),
    "Ωₙ = Θ(P_i, P_n)": lambda pair: theta(pair)[pair.stitches[:, 0], -1],
    "Ω + Ωₙ": lambda pair: pair.scores("theta") + theta(pair)[pair.stitches[:, 0], -1],
    "CE": lambda pair: pair.scores("ce"),
    "√(Ω·CE)": lambda pair: pair.scores("theta_ce"),
    "MSE": lambda pair: pair.scores("mse"),
    "DM": lambda pair: pair.scores("dm"),
    "CKA": lambda pair: pair.scores("cka"),
    "ranks of Ω and CKA": _ranks("theta", "cka"),
    "ranks of Ω and DM": _ranks("theta", "dm"),
    "ranks of Ω and CE": _ranks("theta", "ce"),
    "ranks of Ω, CKA and DM": _ranks("theta", "cka", "dm"),
    "ranks of Γ and CKA": _ranks("kl", "cka"),
    "ranks of Γ, Ω and CKA": _ranks("kl", "theta", "cka"),
    "random": lambda pair: pair.scores("random"),
}


class Oracle(NamedTuple):
    """What a reading is judged by on one pair.

    Attributes:
        name: of the pair and of the oracle.
        accuracy: (N,) of the candidates; NaN for those that it does not know.
        bucket: (N,) of the candidates, −1 outside.
    """

    name: str
    pair: Pair
    accuracy: Floats
    bucket: Integers

    @property
    def judged(self) -> Integers:
        """(N,) the buckets of the candidates that it knows, −1 for the others."""
        return np.where(np.isnan(self.accuracy), -1, self.bucket)


class Judgement(NamedTuple):
    """How a reading does before an oracle.

    Attributes:
        hits: in how many of its buckets the lowest score is the best stitch.
        buckets: how many there are with at least two candidates.
        rho: Spearman's ρ over all candidates in buckets.
        within: ρ within buckets.
        lost: points of accuracy, in percent, from the buckets' best to what the reading takes.
    """

    hits: float
    buckets: int
    rho: float
    within: float
    lost: float


def judge(score: Floats, oracle: Oracle) -> Judgement:
    """A reading before an oracle.

    Args:
        score: (N,) lower is better.
    """
    bucket, accuracy = oracle.judged, oracle.accuracy
    known = bucket >= 0
    score = np.where(np.isnan(score), np.inf, score)
    losses = []
    for b in np.unique(bucket[known]):
        rows = np.flatnonzero(bucket == b)
        if len(rows) > 1:
            lowest = score[rows] == score[rows].min()
            losses.append(accuracy[rows].max() - accuracy[rows][lowest].mean())
    return Judgement(
        hits=float(overlap(score, accuracy, bucket)),
        buckets=overlap_buckets(bucket),
        rho=float(spearman(score[known], accuracy[known])),
        within=float(spearman_within(score, accuracy, bucket)[0]),
        lost=100 * float(np.mean(losses)) if losses else float("nan"),
    )


def left_out(losses: Mapping[str, Sequence[float]]) -> list[tuple[str, float]]:
    """For each pair the reading that loses least on the others, and what it loses on this one.

    Args:
        losses: of each reading, pair by pair.
    """
    names = list(losses)
    table = np.array([losses[name] for name in names])  # (readings, pairs)
    chosen = []
    for pair in range(table.shape[1]):
        others = np.delete(table, pair, axis=1).mean(axis=1)
        best = int(np.argmin(others))
        chosen.append((names[best], float(table[best, pair])))
    return chosen
