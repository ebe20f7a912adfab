"""The stitches of a list, each by its anchors and cuts. Pure functions."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from klas.results.pair import Document, Pair, pairs_of

Entry = tuple[str, str, int, int]
"""A stitch of one's list: source, target, i, j."""


def entry_of(pair: Pair, row: int) -> Entry:
    """A candidate as an entry."""
    i, j = (int(n) for n in pair.stitches[row])
    return (*pair.names, i, j)


def entries_of(pair: Pair, chosen: NDArray[np.bool_]) -> list[Entry]:
    """The chosen candidates of a pair as entries, by cost."""
    rows = np.flatnonzero(chosen)
    return [entry_of(pair, row) for row in rows[np.argsort(pair.macs[rows], kind="stable")]]


def picks(document: Document, listed: Iterable[Entry]) -> list[tuple[Pair, NDArray[np.bool_]]]:
    """Which candidates of which pairs a list means.

    Pairs without any are left out, and so are stitches that the study does not have.
    """
    wanted = set(listed)
    masks = [
        (pair, np.array([entry_of(pair, row) in wanted for row in range(len(pair.macs))], bool))
        for pair in pairs_of(document)
    ]
    return [(pair, mask) for pair, mask in masks if mask.any()]
