"""What the charts share: colours that work on light and on dark, names, margins, ticks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

KLAS, SNNET, ANCHOR, FAINT = "#2f7ed8", "#e07b39", "#7a7f87", "rgba(128,134,145,0.55)"
# Each set is apart by at least 15 in CIELAB, also for the three kinds of colour blindness, and 3:1
# against white and against the dark page; pairs are so apart from the anchors' grey too.
PAIR_COLOURS = ("#0c90fc", "#d87848", "#609c78", "#9060b4", "#b43c48", "#b8860b")
ANCHOR_COLOURS = ("#2a9d8f", "#9c84e4", "#c44e52", "#b8860b", "#486ca8")
# Of another number than the colours, so that both together come round late.
PAIR_SYMBOLS = ("circle", "square", "triangle-up", "cross", "triangle-down", "star", "x")
MARGIN = {"l": 10, "r": 10, "t": 36, "b": 10}
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}


def log_ticks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1, 2, 5 × powers of ten inside the values' range; at least two."""
    positive = values[values > 0]
    if not positive.size:
        return np.array([1.0])
    powers = 10.0 ** np.arange(np.floor(np.log10(positive.min())), np.log10(positive.max()) + 1)
    # Over many decades the powers alone: more would overlap.
    ticks = np.outer(powers, [1] if len(powers) > 4 else [1, 2, 5]).ravel()
    inside = ticks[(ticks >= positive.min()) & (ticks <= positive.max())]
    return inside if inside.size >= 2 else np.array([positive.min(), positive.max()])


def log_axis(values: NDArray[np.float64]) -> dict[str, Any]:
    """What makes an axis logarithmic, with ticks that can be read."""
    ticks = log_ticks(values)
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def line_trace(x: list[Any], y: list[Any], look: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A line that has no part in the legend or the hover."""
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "lines",
        "line": dict(look),
        "showlegend": False,
        "hoverinfo": "skip",
        **more,
    }
