"""Where a stitch stands among those of its bucket. Pure functions of arrays."""

import numpy as np
from numpy.typing import NDArray

from klas.selection.buckets import Selection


def best_of_bucket(selection: Selection, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) whether a score is finite and the lowest of its bucket; equals share the place."""
    lowest = np.where(selection.bucket >= 0, selection.lowest[selection.bucket], np.nan)
    best: NDArray[np.bool_] = np.isfinite(scores) & (scores == lowest)
    return best


def rank_in_bucket(
    scores: NDArray[np.float64], bucket: NDArray[np.int64], row: int
) -> tuple[int, int]:
    """The place of a candidate among those of its bucket, and how many they are; equals share."""
    rivals = scores[bucket == bucket[row]]
    return 1 + int((rivals < scores[row]).sum()), len(rivals)
