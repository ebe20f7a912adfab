"""Which rows of a data set are looked at, and in which order."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Labelled(Protocol):
    """Anything with one class number per row."""

    labels: NDArray[np.int64]  # (N,)


def balanced_order(
    labels: NDArray[np.int64], seed: int, *, without: Sequence[int] = ()
) -> NDArray[np.int64]:
    """(N,) row numbers of which every prefix is class-balanced: one of each class in turn.

    Within a class, and within a turn, the order is random but fixed by ``seed``.

    Args:
        labels: (N,) the class of every row.
        seed: fixes the order.
        without: rows to leave out. The next row of the same class takes the place of each, and
            the order of the others stays as it was.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    if len(without):
        order = order[~np.isin(order, np.asarray(without))]
    by_class = np.argsort(labels[order], kind="stable")
    counts = np.bincount(labels[order])
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    turn = np.empty(len(order), dtype=np.int64)
    turn[by_class] = np.arange(len(order)) - firsts
    return order[np.argsort(turn, kind="stable")]


def subset(
    images: Labelled, samples: int, seed: int, *, without: Sequence[int] = ()
) -> NDArray[np.int64]:
    """Rows of a class-balanced subset, in one seeded permutation.

    ``samples`` of them, or all there are; ``without`` as in :func:`balanced_order`.
    """
    rows = balanced_order(images.labels, seed, without=without)[:samples]
    return np.random.default_rng([seed, 1]).permutation(rows)
