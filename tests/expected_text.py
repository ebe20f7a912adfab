"""Names and figures as people read them, for what tests expect.

Written here once more, so that no test takes a text of the code that it tests as the right one.
"""

from collections.abc import Mapping
from math import isnan
from typing import Any

METHODS = {
    "kl": "KLAS (Γ)",
    "theta": "Ω alone",
    "theta_ce": "√(Ω·CE)",
    "cka": "CKA",
    "mse": "MSE",
    "ce": "CE",
    "dm": "DM",
    "random": "random",
    "snnet": "SN-Net's set",
    "race": "race",
}
ENDS = ("value", "low", "high")


def number(value: Any) -> float:
    """A number of a document: null is unknown."""
    return float("nan") if value is None else float(value)


def size(count: float) -> str:
    """Bytes, from a kilobyte to a gigabyte: 12 kB, 3.4 MB."""
    return f"{count / 1e6:.1f} MB" if count >= 999_500 else f"{count / 1e3:.0f} kB"


def percent(accuracy: float) -> str:
    """An accuracy that was measured: 87.3 %."""
    return f"{100 * accuracy:.1f} %"


def whole(count: float) -> str:
    """A count: 4, 3.5, or a dash."""
    return "–" if isnan(count) else f"{count:.1f}".removesuffix(".0")


def tally(estimate: Mapping[str, Any] | None) -> str:
    """A count with its interval: 4 [3, 5.5]."""
    if estimate is None:
        return "–"
    value, low, high = (whole(number(estimate[end])) for end in ENDS)
    return f"{value} [{low}, {high}]"


def with_interval(estimate: Mapping[str, Any] | None, *, scale: float = 1, digits: int = 2) -> str:
    """A figure with its interval: 0.61 [0.42, 0.74]."""
    if estimate is None:
        return "–"
    ends = (scale * number(estimate[end]) for end in ENDS)
    value, low, high = ("–" if isnan(end) else f"{end:z.{digits}f}" for end in ends)
    return f"{value} [{low}, {high}]"
