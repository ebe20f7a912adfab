"""Accuracy after joint training as the map shows it: of the chosen stitches alone."""

import numpy as np
from numpy.typing import NDArray

from dashboard.quantities import Field, Quantity, field
from klas.results import Pair

NAME = "finetuned"
JOINTLY = Quantity(
    label="finetuned top-1 (%)",
    option="Accuracy: finetuned",
    reading="higher is better",
    words="Top-1 with all chosen stitches and the anchors trained jointly, the paper's figures. "
    "Only what is chosen is trained so.",
    brightest="highest",
)
"""What the map offers beside :data:`dashboard.quantities.QUANTITIES` where a choice is trained."""


def jointly_field(pair: Pair, accuracy: NDArray[np.float64]) -> Field:
    """A joint training over the cells of the candidates, NaN where nothing was trained.

    Args:
        accuracy: (N,) in [0, 1], NaN for what is not chosen.
    """
    grid = field(pair, "macs")
    assert grid is not None, "a trained choice has candidates"
    i, j = pair.stitches[pair.in_space].T
    values = np.full_like(grid.values, np.nan)
    places = np.searchsorted(grid.rows, i), np.searchsorted(grid.columns, j)
    values[places] = 100 * accuracy[pair.in_space]
    return Field(rows=grid.rows, columns=grid.columns, values=values)


def jointly_in_words(shown: Field) -> str:
    """What that map shows, in a sentence: for those who cannot see it."""
    known = shown.known
    if not known.size:
        return f"{JOINTLY.label}: none of these cells was trained."
    return (
        f"{JOINTLY.label} of {known.size} chosen stitches, {JOINTLY.reading}: lowest "
        f"{known.min():.3g}, highest {known.max():.3g}. The others are not measured."
    )
