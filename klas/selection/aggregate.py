"""From the figures of single pairs to figures over all pairs. Pure functions of arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from klas.selection.agreement import Floats, Integers, weighted_mean

Tree = dict[str, Any]
"""Figures as nested tables. A leaf is (R + 1,), the figure itself and then its replicates; or
:class:`WeightedFigure`; or None."""


class WeightedFigure(NamedTuple):
    """A figure, and what it rests on.

    Attributes:
        values: (R + 1,) the figure and its replicates.
        candidates: (R + 1,) how many candidates it rests on: its weight beside other pairs.
        pairs: how many pairs it joins.
    """

    values: Floats
    candidates: Integers | None = None
    pairs: int | None = None


def over_pairs(trees: Sequence[Tree]) -> Tree:
    """The figures over all pairs.

    Hits are summed, ρ within buckets is that of all their buckets together, and everything else
    is the mean over pairs. Each takes the pairs where every method has the figure, so that all
    methods are judged by the same pairs; so are all budgets.

    Args:
        trees: pair by pair, with ``chance`` and ``methods``.
    """
    methods = _over_pairs("methods", _at_equal_budgets([tree["methods"] for tree in trees]))
    return {"chance": sum(tree["chance"] for tree in trees), "methods": methods}


def _at_equal_budgets(places: Sequence[Tree]) -> list[Tree]:
    """The methods, pair by pair, with the same pairs behind every budget.

    A curve over budgets must be of the same pairs throughout. Pairs that lack, for any method, a
    budget that is kept lose all of theirs; what is kept is as many budgets as any pair has.
    """
    complete: list[set[str]] = [set() for _ in places]
    for steps in next(iter(places[0].values()))["budgets"]:
        means = [
            {m: (tree["budgets"][steps] or {}).get("mean_top1") for m, tree in place.items()}
            for place in places
        ]
        for budgets, whole in zip(complete, _complete(means)):
            budgets |= {steps} if whole else set()
    kept = max(complete, key=lambda budgets: (len(budgets), sum(budgets <= c for c in complete)))
    return [
        {
            m: tree
            | {
                "budgets": {
                    steps: areas if steps in kept <= budgets else None
                    for steps, areas in tree["budgets"].items()
                }
            }
            for m, tree in place.items()
        }
        for place, budgets in zip(places, complete)
    ]


def _over_pairs(name: str, places: Sequence[Tree]) -> Tree:
    """One place of the trees, by method, over all pairs.

    Args:
        name: the place in the trees that is joined.
        places: what each method has there, pair by pair: a table, a figure or None.
    """
    methods = list(places[0])
    tables = [node for place in places for node in place.values() if isinstance(node, dict)]
    if not tables:
        common = _comparable(places)
        return {
            m: _pooled(name, [leaf[m] for leaf in common]) if common and m in common[0] else None
            for m in methods
        }
    # A method that has nothing here on any pair has nothing over all pairs.
    joined: Tree = {
        m: {} if any(isinstance(place[m], dict) for place in places) else None for m in methods
    }
    for inner in dict.fromkeys(inner for table in tables for inner in table):
        below = [{m: (node or {}).get(inner) for m, node in place.items()} for place in places]
        for metric, values in _over_pairs(inner, below).items():
            if joined[metric] is None:
                continue
            joined[metric][inner] = values
            if inner == "mean_top1":  # an int among figures: how many pairs the curve is of
                joined[metric]["pairs"] = len(_comparable(below))
    return joined


def _pooled(name: str, leaves: Sequence[Any]) -> WeightedFigure:
    """One method's figure over some pairs."""
    if name == "spearman_within":
        rho, candidates = (np.stack(part, axis=-1) for part in list(zip(*leaves))[:2])
        return WeightedFigure(weighted_mean(rho, candidates), candidates.sum(axis=-1), len(leaves))
    join: Any = np.sum if name in ("overlap", "containment") else np.mean
    return WeightedFigure(join(leaves, axis=0), pairs=len(leaves))


def _comparable(places: Sequence[Tree]) -> list[Tree]:
    """The pairs where all methods have a figure.

    Methods that have it nowhere don't count, such as SN-Net's set, which has no order, or a
    method's gain on itself.
    """
    methods = _methods_with_a_figure(places)
    return [
        {m: place[m] for m in methods} for place, whole in zip(places, _complete(places)) if whole
    ]


def _complete(places: Sequence[Tree]) -> list[bool]:
    """Which pairs are comparable."""
    methods = _methods_with_a_figure(places)
    return [bool(methods) and all(is_defined(place[m]) for m in methods) for place in places]


def _methods_with_a_figure(places: Sequence[Tree]) -> list[str]:
    """The methods that have a figure for any pair."""
    return [m for m in places[0] if any(is_defined(place[m]) for place in places)]


def is_defined(leaf: Floats | WeightedFigure | None) -> bool:
    """Whether a figure is defined; some of its replicates may still not be."""
    values = leaf.values if isinstance(leaf, WeightedFigure) else leaf
    return values is not None and not np.isnan(values[0])
