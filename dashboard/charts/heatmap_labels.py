"""What is printed in the cells of a map: the values that it shows, or the buckets of cost."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.charts.heatmap_points import Stitches
from dashboard.charts.theme import ANCHOR
from dashboard.text.quantities import Field

MOST_VALUES = 13  # columns; in narrower cells values run into each other, and the hover has them
MOST_BUCKETS = 24  # rows or columns; a bucket has two digits at most in common studies
THREE_DIGITS = 8  # columns whose cells have room for 3 significant digits; more get 2
LOW_ROW = 24  # pixels; below, the type is smaller


def values_fit(shown: Field) -> bool:
    """Whether the cells are wide enough for values."""
    return len(shown.columns) <= MOST_VALUES


def buckets_fit(shown: Field) -> bool:
    """Whether there are stitches that have buckets, in cells with room for two digits."""
    return bool(shown.rows) and max(len(shown.rows), len(shown.columns)) <= MOST_BUCKETS


def short(value: float, digits: int) -> str:
    """A value in few characters: 1.74, 0.037, 1200, 3.7e-4, ∞; nothing where there is none (NaN).

    Args:
        digits: the significant ones, at least 2.
    """
    if np.isnan(value):
        return ""
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:.0f}" if abs(rounded) >= 10**digits else f"{value:.{digits}g}"


def numbers_trace(
    shown: Field, stitches: Stitches, inks: NDArray[np.str_], height: int, *, buckets: bool
) -> dict[str, Any]:
    """Text in the cells, none where they are too small; of what is chosen it is bold.

    Args:
        inks: (R, C) what can be read on each cell's colour.
        height: of a row, in pixels.
        buckets: print the bucket of every stitch, – for those outside; else the values.
    """
    if buckets and shown.rows:
        fits, x, y, ink = buckets_fit(shown), stitches.j, stitches.i, stitches.ink
        texts = ["–" if b < 0 else str(b) for b in stitches.bucket.tolist()]
        bold = stitches.chosen
    else:
        fits = values_fit(shown)
        rows, columns = np.array(shown.rows or (0,)), np.array(shown.columns)
        y, x = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
        digits = 3 if len(columns) <= THREE_DIGITS else 2
        texts = [short(v, digits) for v in shown.values.ravel().tolist()]
        ink = inks.ravel().tolist()
        chosen = set(zip(stitches.i[stitches.chosen], stitches.j[stitches.chosen]))
        bold = np.array([place in chosen for place in zip(y, x)], dtype=bool)
    return {
        "type": "scatter",
        "x": x if fits else [],
        "y": y if fits else [],
        "mode": "text",
        "text": [f"<b>{t}</b>" if b else t for t, b in zip(texts, bold)] if fits else [],
        "textfont": {"color": ink, "size": 11 if height >= LOW_ROW else 9},
        # Told how a selected text looks, Plotly leaves the others as they are; none is selected.
        "selected": {"textfont": {"color": ANCHOR}},
        "hoverinfo": "skip",
        "showlegend": False,
    }
