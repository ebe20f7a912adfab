"""Figures and methods as people read them, in tables of the command and on the pages alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from klas.results.pair import CostUnit, number

METHODS = {
    "kl": "KLAS (Γ)",
    "theta": "Ω alone",
    "cka": "CKA",
    "mse": "MSE",
    "ce": "CE",
    "dm": "DM",
    "random": "random",
    "snnet": "SN-Net's set",
}
"""What people call the methods."""


def duration(seconds: float) -> str:
    """42 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as 12 kB, 3.4 MB, 1.2 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def percent(value: float | None) -> str:
    """An accuracy as 87.3 %, or a dash where it was not measured."""
    return "–" if value is None or np.isnan(value) else f"{100 * value:.1f} %"


def cost(macs: float, unit: CostUnit) -> str:
    """A cost in a unit, three digits."""
    value = macs / unit.scale
    return f"{value:,.3g}" if value < 999.5 else f"{value:,.0f}"


def with_interval(found: Mapping[str, Any] | None, *, scale: float = 1.0, digits: int = 2) -> str:
    """A figure with its interval: 0.61 [0.42, 0.74]; a dash where there is none."""
    if found is None:
        return "–"
    value, low, high = (
        f"{scale * number(found[name]):z.{digits}f}" for name in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def tally(found: Mapping[str, Any] | None) -> str:
    """A count with its interval: 4 [3, 5.5]; a dash where there is none."""
    if found is None:
        return "–"
    value, low, high = (whole(number(found[name])) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def whole(count: float) -> str:
    """A count that ties or a mean may make fractional: 4, 3.5."""
    return f"{count:z.1f}".removesuffix(".0")
