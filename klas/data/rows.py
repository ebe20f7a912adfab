"""Which rows of a data set are used, and in which order."""

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
    """(N,) row numbers of which every prefix is class-balanced: round by round, one of each class.

    Within a class, and within a round, the order is random but fixed by ``seed``.

    Args:
        labels: (N,) the class of every row.
        seed: fixes the order.
        without: rows to leave out. The next row of the same class takes the place of each, and
            the order of the others stays as it was.

    Examples:
        >>> labels = np.array([0, 0, 0, 0, 1, 1])
        >>> order = balanced_order(labels, seed=0)
        >>> np.sort(labels[order][:2]), np.sort(labels[order][2:4])
        (array([0, 1]), array([0, 1]))
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    if len(without):
        order = order[~np.isin(order, np.asarray(without))]
    by_class = np.argsort(labels[order], kind="stable")
    counts = np.bincount(labels[order])
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    round_of = np.empty(len(order), dtype=np.int64)
    round_of[by_class] = np.arange(len(order)) - firsts
    return order[np.argsort(round_of, kind="stable")]


def subset(
    images: Labelled, samples: int, seed: int, *, without: Sequence[int] = ()
) -> NDArray[np.int64]:
    """(n,) the rows of a class-balanced subset, in one seeded permutation.

    Args:
        images: the data set.
        samples: how many rows; all of them if there are fewer.
        seed: fixes which rows, and their order.
        without: as for :func:`balanced_order`.
    """
    rows = balanced_order(images.labels, seed, without=without)[:samples]
    return np.random.default_rng([seed, 1]).permutation(rows)
