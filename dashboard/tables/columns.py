"""What the tables' columns have in common: their digits, their help, their height."""

from typing import Any, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.text.quantities import QUANTITIES
from klas.results.pair import Pair
from klas.study import TIERS, Metric

HEAD, ROW = 38, 35  # pixels of a table
ROWS = 20  # that show without scrolling
TIER_COLUMNS = {
    f"{tier} (%)": st.column_config.NumberColumn(
        format="%.1f",
        help=QUANTITIES[tier].words,
    )
    for tier in TIERS
}
BUCKET = (
    "Stitches of about the same cost share a bucket, numbered from the cheap anchor's cost to the "
    "costly one's. In every bucket the best and what τ lets through are chosen."
)
WIDEST = 8  # characters; a column that needs more is written with powers of ten


def score_columns(pair: Pair, metric: Metric, rows: NDArray[np.int64]) -> dict[str, Any]:
    """The score that chose, and Γ."""
    return {QUANTITIES[m].label: pair.scores(m)[rows] for m in dict.fromkeys((metric, "kl"))}


def even(values: NDArray[np.float64], words: str | None = None) -> Any:
    """A column of numbers with as many decimals each.

    Args:
        values: (M,) that the column may come to show, so that no choice among them moves digits.
        words: its help.
    """
    return st.column_config.NumberColumn(format=three_digits(values), help=words)


def height(rows: int) -> int | Literal["auto"]:
    """Of a table with so many rows, in pixels; more than :data:`ROWS` scroll."""
    return HEAD + ROW * min(rows, ROWS) if rows else "auto"


def three_digits(values: NDArray[np.float64]) -> str:
    """The format of a column in which every value has at least three significant digits.

    All have the same number of decimals.

    Args:
        values: (M,) of the column.
    """
    sizes = np.abs(values[np.isfinite(values)])
    # What is a rounding error beside the others, such as 1 − CKA of one network, needs none.
    sizes = sizes[sizes > 1e-9 * sizes.max(initial=0.0)]
    if not sizes.size:
        return "%.2f"
    least = float(f"{sizes.min():.2e}")  # 9.996 has the digits of 10.0
    form = f"%.{max(0, 2 - int(np.floor(np.log10(least))))}f"
    return form if len(form % sizes.max()) <= WIDEST else "%.2e"
