"""Figures of single pairs become figures over all pairs. Pure functions of arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from klas.selection.agreement import Floats, Integers, weighted_mean

Tree = dict[str, Any]
"""Figures as nested tables. A leaf is (R + 1,): the figure itself, then its replicates; the same
with what it rests on; or None."""


class Based(NamedTuple):
    """A figure, and what it rests on."""

    values: Floats  # (R + 1,)
    candidates: Integers | None = None  # (R + 1,) its weight beside those of other pairs
    pairs: int | None = None  # how many it joins


def over_pairs(trees: Sequence[Tree]) -> Tree:
    """Over all pairs: hits are summed, ρ within buckets is of all their buckets together, and
    everything else is the mean over pairs; each over the pairs where every method has the figure,
    so that all methods are judged by the same pairs, and all budgets too."""
    methods = _joined("methods", _at_equal_budgets([tree["methods"] for tree in trees]))
    return {"chance": sum(tree["chance"] for tree in trees), "methods": methods}


def _at_equal_budgets(places: Sequence[Tree]) -> list[Tree]:
    """The methods, pair by pair, without the budgets that would join other pairs than the rest.

    A figure against the budget must be of the same pairs throughout. So there is place for the
    pairs that have, for all methods, as many budgets as any pair has.
    """
    complete: list[set[str]] = [set() for _ in places]
    for steps in next(iter(places[0].values()))["budgets"]:
        means = [
            {m: (found["budgets"][steps] or {}).get("mean_top1") for m, found in place.items()}
            for place in places
        ]
        for having, whole in zip(complete, _complete(means)):
            having |= {steps} if whole else set()
    shown = max(complete, key=lambda having: (len(having), sum(having <= c for c in complete)))
    return [
        {
            m: found
            | {
                "budgets": {
                    steps: areas if steps in shown <= having else None
                    for steps, areas in found["budgets"].items()
                }
            }
            for m, found in place.items()
        }
        for place, having in zip(places, complete)
    ]


def _joined(name: str, places: Sequence[Tree]) -> Tree:
    """By method, over all pairs.

    Args:
        name: of the place in the trees that is joined.
        places: pair by pair what each method has there: a table, a figure or None.
    """
    methods = list(places[0])
    tables = [node for place in places for node in place.values() if isinstance(node, dict)]
    if not tables:
        common = _comparable(places)
        return {
            m: _joint(name, [leaf[m] for leaf in common]) if common and m in common[0] else None
            for m in methods
        }
    found: Tree = {metric: {} for metric in methods}
    for inner in dict.fromkeys(inner for table in tables for inner in table):
        below = [{m: (node or {}).get(inner) for m, node in place.items()} for place in places]
        for metric, values in _joined(inner, below).items():
            found[metric][inner] = values
            if inner == "mean_top1":  # an int among figures: how many pairs the curve is of
                found[metric]["pairs"] = len(_comparable(below))
    return found


def _joint(name: str, leaves: Sequence[Any]) -> Based:
    """One method's figure, of some pairs."""
    if name == "spearman_within":
        rho, candidates = (np.stack(part, axis=-1) for part in list(zip(*leaves))[:2])
        return Based(weighted_mean(rho, candidates), candidates.sum(axis=-1), len(leaves))
    join: Any = np.sum if name in ("overlap", "containment") else np.mean
    return Based(join(leaves, axis=0), pairs=len(leaves))


def _comparable(places: Sequence[Tree]) -> list[Tree]:
    """The pairs where all methods have a figure, but for methods that have it nowhere: an order
    of its set, a gain on itself."""
    asked = _asked(places)
    return [
        {m: place[m] for m in asked} for place, whole in zip(places, _complete(places)) if whole
    ]


def _complete(places: Sequence[Tree]) -> list[bool]:
    """Which pairs are comparable."""
    asked = _asked(places)
    return [bool(asked) and all(known(place[m]) for m in asked) for place in places]


def _asked(places: Sequence[Tree]) -> list[str]:
    return [m for m in places[0] if any(known(place[m]) for place in places)]


def known(leaf: Floats | Based | None) -> bool:
    """Whether a figure is defined; its replicates may not all be."""
    values = leaf.values if isinstance(leaf, Based) else leaf
    return values is not None and not np.isnan(values[0])
