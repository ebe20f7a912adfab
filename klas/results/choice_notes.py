"""What should be known of a choice before it is trusted, in sentences. No torch here."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from klas.results.pair import Pair
from klas.selection.buckets import OUTSIDE, Selection
from klas.study import Metric

MOST = 0.5  # of the chosen: from here on the choice hangs on something
TIMES = 2.0  # as often as among the candidates


def before_resolution_changes(pair: Pair) -> NDArray[np.bool_]:
    """(N,) which candidates enter the target right before a block that changes its map's grid."""
    grids = [layout["grid"] for layout in pair.target["layouts"]]
    changes = np.array([here != after for here, after in pairwise(grids)], dtype=bool)
    return changes[pair.stitches[:, 1]]


def resolution_note(pair: Pair, selection: Selection, metric: Metric) -> str | None:
    """That a choice by Γ hangs on changes of resolution, if it does.

    Σ is large where a block changes the resolution, whatever stands before it, so there Γ is small
    for any stitch (docs/real-networks.md).
    """
    if metric != "kl" or not selection.chosen.any():
        return None
    there = before_resolution_changes(pair)
    chosen = there[selection.chosen].mean()
    candidates = there[pair.in_space & (selection.bucket != OUTSIDE)].mean()
    if chosen < MOST or chosen < TIMES * candidates:
        return None
    count, every = there[selection.chosen].sum(), selection.chosen.sum()
    return (
        f"{pair.name}: {count} of the {every} stitches that Γ chose enter right before a block "
        f"that changes the resolution, as {100 * candidates:.0f} % of all candidates do. Σ is "
        "large there whatever the stitch, so on networks in stages Γ is no safe guide; compare "
        "with √(Ω·CE) (theta_ce), or let a race decide"
    )
