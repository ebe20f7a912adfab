"""How a method is drawn wherever it is: its colour and shape, its stitches and its envelope."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dashboard.charts.theme import KLAS, SNNET
from klas.results.formatting import METHODS
from klas.selection.bootstrap import wilson
from klas.selection.curves import Envelope
from klas.study import Metric


class Style(NamedTuple):
    """How a method is drawn, on every page."""

    colour: str
    symbol: str


# Apart by at least 15 in CIELAB, also for the three kinds of colour blindness; shapes tell too.
STYLES: dict[Metric, Style] = {
    "kl": Style(KLAS, "circle"),
    "theta": Style("#56b4e9", "triangle-up"),
    "theta_ce": Style("#a824fc", "hourglass"),  # the triangles of Ω and CE in one
    "cka": Style("#1c9e5f", "square"),
    "mse": Style("#d986b6", "pentagon"),
    "ce": Style("#c9a400", "triangle-down"),
    "dm": Style("#7b4fa6", "star"),
    "random": Style("#6b7078", "cross-thin"),
    "snnet": Style(SNNET, "x-thin"),
    "race": Style("#cc2233", "hexagon"),
}
AT_FIRST: tuple[Metric, ...] = ("kl", "cka", "snnet")
"""The methods whose curves are shown at first; the others are a click away."""


def on_top(metric: Metric) -> bool:
    """Whether a method is drawn last: KLAS lies over the others."""
    return metric == "kl"


def curve_traces(
    metric: Metric,
    costs: NDArray[np.float64],
    accuracies: NDArray[np.float64],
    steps: Envelope,
    right: float,
    samples: int,
    **more: Any,
) -> list[dict[str, Any]]:
    """A method's envelope and its stitches, as two traces that the legend switches together.

    Each stitch has the 95 % interval of its accuracy as a bar.

    Args:
        costs, accuracies: (M,) of the stitches, in the axes' units: percent.
        steps: the envelope, in the same units.
        right: the cost at which its line ends.
        samples: how many the accuracies were measured on.
        more: of the stitches' trace: what the hover says.
    """
    low, high = wilson(accuracies / 100, samples)
    envelope_trace = {
        "type": "scatter",
        "x": np.append(steps.costs, right),
        "y": np.append(steps.accuracies, steps.accuracies[-1:]),
        "mode": "lines",
        "name": f"{METHODS[metric]}: envelope",
        "line": {"shape": "hv", "color": STYLES[metric].colour, "width": 2},
        "showlegend": False,
        "hoverinfo": "skip",
        "legendgroup": metric,
    }
    stitches = {
        "type": "scatter",
        "x": costs,
        "y": accuracies,
        "mode": "markers",
        "name": f"{METHODS[metric]} ({len(costs)})",
        "legendrank": 1 if metric == "kl" else 2,  # first, though it is drawn last
        # Many methods choose the same stitch: Γ's disc lies inside the others' outlines.
        "marker": method_marker(metric, 9) if metric == "kl" else _outline(metric, 13),
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": 100 * high - accuracies,
            "arrayminus": accuracies - 100 * low,
            "thickness": 1,
            "width": 0,
            "color": STYLES[metric].colour,
        },
        "legendgroup": metric,
        **more,
    }
    return [envelope_trace, stitches]


def method_marker(metric: Metric, size: int, *, hollow: bool = False) -> dict[str, Any]:
    """A method's marker; thin symbols are nothing but their line, hollow ones need one."""
    colour, symbol = STYLES[metric]
    thin = symbol.endswith("-thin")
    width = 2.5 if thin and not hollow else 1.5 if hollow else 0
    if hollow:
        symbol = "circle-open" if thin else f"{symbol}-open"
    return {
        "color": colour,
        "symbol": symbol,
        "size": size,
        "line": {"width": width, "color": colour},
    }


def _outline(metric: Metric, size: int) -> dict[str, Any]:
    """A method's marker that hides nothing."""
    marker = method_marker(metric, size)
    if not marker["symbol"].endswith("-thin"):
        marker["symbol"] += "-open"
        marker["line"]["width"] = 2
    return marker
