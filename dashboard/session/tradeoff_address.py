"""What an address says of the trade-off: ``cost``, ``range``, ``rival``, ``curves``, ``budget``.

Pure functions; a value is a stranger's input until it has been read here.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from dashboard.session.state import Choices
from klas.results.costs import COSTS
from klas.study import METRICS, Metric

NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,12})?(?:e[+-]?[0-9]{1,3})?"


def parse(asked: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The choices that can be read, and for each that can't its name and what it should be."""
    read: dict[str, Any] = {}
    hints = []
    for name, (reader, hint) in READERS.items():
        if name in asked:
            try:
                read[name] = reader(asked[name])
            except ValueError:
                hints.append((name, hint))
    return read, hints


def compose(chosen: Choices) -> dict[str, str]:
    """The same choices as text; what was not chosen is left out."""
    written: dict[str, str] = {}
    if "cost" in chosen:
        written["cost"] = chosen["cost"]
    if "rival" in chosen:
        written["rival"] = chosen["rival"]
    if "range" in chosen:
        written["range"] = "{:.6g}~{:.6g}".format(*chosen["range"])
    if "curves" in chosen:
        written["curves"] = "~".join(chosen["curves"])
    if "budget" in chosen:
        written["budget"] = f"{chosen['budget']:.6g}"
    return written


def _cost(text: str) -> str:
    return _one_of(text, COSTS)


def _rival(text: str) -> str:
    return _one_of(text, METRICS)


def _range(text: str) -> tuple[float, float]:
    low, high = (_number(part) for part in text.split("~"))
    if low > high:
        raise ValueError(text)
    return low, high


def _curves(text: str) -> tuple[Metric, ...]:
    named = {_one_of(name, METRICS) for name in text.split("~")} if text else set()
    return tuple(metric for metric in get_args(Metric) if metric in named)


def _number(text: str) -> float:
    if not re.fullmatch(NUMBER, text) or not math.isfinite(float(text)):
        raise ValueError(text)
    return float(text)


def _one_of(name: str, known: tuple[str, ...]) -> str:
    if name not in known:
        raise ValueError(name)
    return name


READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "cost": (_cost, f"there are {', '.join(COSTS)}"),
    "range": (_range, "a range of costs is given as `1.5~20`"),
    "rival": (_rival, f"there are {', '.join(METRICS)}"),
    "curves": (_curves, f"methods are given as `kl~cka`; there are {', '.join(METRICS)}"),
    "budget": (_number, "a budget is a number, 0 or more"),
}
