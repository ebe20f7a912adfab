"""What the tables' columns have in common: their digits, their help, their height."""

from typing import Any, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.text.quantities import QUANTITIES, accuracy_quantity
from klas.results.anchor_notes import DEPLOYED
from klas.results.formatting import Costed
from klas.results.pair import CostUnit, Pair
from klas.study import TIERS, Metric
from klas.tasks.metric import AccuracyMetric

HEAD, ROW = 38, 35  # pixels of a table
ROWS = 20  # that show without scrolling
BUCKET_HELP = (
    "Stitches of about the same cost share a bucket, numbered from the cheap anchor's cost to the "
    "costly one's. In every bucket the best stitch is chosen, with those that τ lets through."
)
WIDEST = 8  # characters; a column that needs more is written with powers of ten


def tier_columns(metric: AccuracyMetric) -> dict[str, Any]:
    """How the columns of accuracies by tier are shown; their names are "tuned (%)" and so on."""
    return {
        f"{tier} (%)": st.column_config.NumberColumn(
            format="%.1f", help=accuracy_quantity(tier, metric).explanation
        )
        for tier in TIERS
    }


def score_columns(pair: Pair, metric: Metric, rows: NDArray[np.int64]) -> dict[str, Any]:
    """The score that chose, and Γ."""
    return {QUANTITIES[m].label: pair.scores(m)[rows] for m in dict.fromkeys((metric, "kl"))}


def deployed_columns(entry: Costed, unit: CostUnit) -> dict[str, Any]:
    """The costs of the fused form of an anchor or a stitch; empty where nothing is fused."""
    cost = entry.get("deployed")
    return {
        f"deployed {unit.name}": None if cost is None else cost["macs"] / unit.scale,
        "deployed parameters": None if cost is None else cost["params"],
    }


def deployed_help(unit: CostUnit) -> dict[str, Any]:
    """How these columns are shown."""
    return {
        f"deployed {unit.name}": st.column_config.NumberColumn(format="%.3g", help=DEPLOYED),
        "deployed parameters": st.column_config.NumberColumn(format="localized", help=DEPLOYED),
    }


def number_column(values: NDArray[np.float64], help: str | None = None) -> Any:
    """A column of numbers that all have the same number of decimals.

    Args:
        values: (M,) that the column may come to show, so that no choice among them moves digits.
        help: what it shows.
    """
    return st.column_config.NumberColumn(format=three_digits(values), help=help)


def table_height(rows: int) -> int | Literal["auto"]:
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
