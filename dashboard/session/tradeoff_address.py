"""What an address says of the trade-off: ``cost``, ``range``, ``rival``, ``curves``, ``budget``.

Pure functions; a value is a stranger's input until it has been read here.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from klas.results.costs import COSTS
from klas.study import METRICS, Metric

NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,12})?(?:e[+-]?[0-9]{1,3})?"


def parse(asked: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What of an address can be read, and the name of what cannot with what it should be."""
    found: dict[str, Any] = {}
    wrong = []
    for name, (read, hint) in READERS.items():
        if name in asked:
            try:
                found[name] = read(asked[name])
            except ValueError:
                wrong.append((name, hint))
    return found, wrong


def compose(kept: Mapping[str, Any]) -> dict[str, str]:
    """The same choices as text; what was not chosen is left out."""
    said = {name: str(kept[name]) for name in ("cost", "rival") if name in kept}
    if "range" in kept:
        said["range"] = "{:.6g}~{:.6g}".format(*kept["range"])
    if "curves" in kept:
        said["curves"] = "~".join(kept["curves"])
    if "budget" in kept:
        said["budget"] = f"{kept['budget']:.6g}"
    return said


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
    named = {_one_of(word, METRICS) for word in text.split("~")} if text else set()
    return tuple(metric for metric in get_args(Metric) if metric in named)


def _number(text: str) -> float:
    if not re.fullmatch(NUMBER, text) or not math.isfinite(float(text)):
        raise ValueError(text)
    return float(text)


def _one_of(word: str, words: tuple[str, ...]) -> str:
    if word not in words:
        raise ValueError(word)
    return word


READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "cost": (_cost, f"there are {', '.join(COSTS)}"),
    "range": (_range, "a range of costs is given as `1.5~20`"),
    "rival": (_rival, f"there are {', '.join(METRICS)}"),
    "curves": (_curves, f"methods are given as `kl~cka`; there are {', '.join(METRICS)}"),
    "budget": (_number, "a budget is a number, 0 or more"),
}
