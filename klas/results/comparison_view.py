"""Reading a comparison: the parts of the document, and what they show together. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Literal, overload

import numpy as np

from klas.results.documents.comparison import (
    AllPairs,
    ComparedPair,
    ComparedStitch,
    Comparison,
    Figure,
    MethodFigures,
    PairsMethodFigures,
)
from klas.results.pair import number
from klas.selection.curves import Floats
from klas.study import METRICS, Metric, Tier

AnyMethodFigures = MethodFigures | PairsMethodFigures
"""A method's figures on one pair or over all pairs."""

CurveName = Literal[
    "auc",
    "auc_stitches",
    "area_top1",
    "mean_top1",
    "gain",
    "greatest_gain",
    "saving",
    "greatest_saving",
]
"""The figures of a method at one tier: the areas, and what KLAS gains and saves."""


@overload
def methods_of(part: ComparedPair) -> dict[Metric, MethodFigures]: ...
@overload
def methods_of(part: AllPairs) -> dict[Metric, PairsMethodFigures]: ...
def methods_of(part: ComparedPair | AllPairs) -> Mapping[Metric, AnyMethodFigures]:
    """The figures of the methods that take part, in the usual order."""
    methods = part["methods"]
    return {metric: methods[metric] for metric in METRICS if metric in methods}


def chosen_of(pair: ComparedPair) -> dict[Metric, list[ComparedStitch]]:
    """The stitches that each method chose, in the usual order."""
    return {metric: pair["chosen"][metric] for metric in METRICS if metric in pair["chosen"]}


def chance_of(part: ComparedPair | AllPairs) -> float:
    """How many buckets a random choice hits; NaN where it is undefined."""
    chance = part["chance"]
    return number(None if chance is None else chance["value"])


def curve_figure(method: AnyMethodFigures, tier: Tier, name: CurveName) -> Figure | None:
    """One of a method's figures at a tier; None where it is undefined or not measured."""
    curve = method[tier]
    return None if curve is None else curve[name]


def curve_pairs(every: AllPairs, tier: Tier) -> int:
    """How many pairs a tier's figures cover; 0 where nothing is measured."""
    curves = (every["methods"][m][tier] for m in METRICS if m in every["methods"])
    return max((curve["pairs"] for curve in curves if curve is not None), default=0)


def entry_of(comparison: Comparison, names: tuple[str, str]) -> ComparedPair | None:
    """A pair's part, by source and target; None where the comparison does not have the pair."""
    return next((p for p in comparison["pairs"] if (p["source"], p["target"]) == names), None)


def split_of(comparison: Comparison, tier: Tier) -> Literal["val", "test"]:
    """The split that a tier's accuracies were measured on."""
    return comparison["finetuned_on"] if tier == "finetuned" else "val"


def samples_of(comparison: Comparison, tier: Tier) -> int:
    """How many samples a tier's accuracies were measured on."""
    split = comparison["data"][split_of(comparison, tier)]
    return 0 if split is None else split["samples"]


def anchors_at(
    comparison: Comparison, pair: ComparedPair, tier: Tier
) -> list[tuple[str, float, float]]:
    """Name, MACs and accuracy of a pair's anchors by cost, on the split that judges the tier.

    An anchor without an accuracy there is left out.
    """
    split = split_of(comparison, tier)
    points = [
        (anchor["name"], float(anchor["macs"]), number(accuracy["value"]))
        for anchor in comparison["anchors"]
        if anchor["name"] in (pair["source"], pair["target"])
        and (accuracy := anchor[split]) is not None
    ]
    return sorted(points, key=lambda point: point[1])


def chosen_at(pair: ComparedPair, metric: Metric, tier: Tier) -> tuple[Floats, Floats]:
    """(M,) MACs and accuracies of what a method chose; none where the tier is not measured."""
    points = [
        (float(stitch["macs"]), float(stitch["accuracy"][tier] or 0.0))
        for stitch in measured_at(pair, metric, tier)
    ]
    macs, accuracies = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return macs, accuracies


def measured_at(pair: ComparedPair, metric: Metric, tier: Tier) -> list[ComparedStitch]:
    """What a method chose and what has an accuracy at a tier.

    A race has stitches of its own at ``finetuned`` alone, and older documents have none.
    """
    if metric == "race" and tier != "finetuned":
        return []
    chosen = chosen_of(pair).get(metric, [])
    return [stitch for stitch in chosen if stitch["accuracy"][tier] is not None]


def anchors_alone(pair: ComparedPair, steps: int) -> dict[str, Figure]:
    """The pair's anchors, each trained without stitches for so many steps; empty if that is not."""
    trained = pair.get("anchors_alone", {}).get(str(steps), {})
    return {name: figure for name, figure in trained.items() if figure is not None}


def ranked_candidates(method: AnyMethodFigures) -> int:
    """How many candidates a method's ρ within buckets rests on."""
    figure = method["spearman_within"]
    return 0 if figure is None else figure["candidates"]


def below_cheap_anchor(
    comparison: Comparison, pairs: Sequence[ComparedPair], tier: Tier
) -> str | None:
    """Why areas and gains are all alike at a tier, in a sentence; None where they are not.

    Args:
        pairs: those of the comparison that the figures are of.
    """
    flat = sum(_is_flat(comparison, pair, tier) for pair in pairs)
    if not flat:
        return None
    some = f"all {flat}" if flat == len(pairs) else f"{flat} of {len(pairs)}"
    where = "" if len(pairs) == 1 else f" in {some} pairs"
    return (
        f"At tier {tier} all chosen stitches{where} lie below the cheap anchor, so the envelope is "
        "the anchors' alone there: every auc and gain is 0, every saving 1."
    )


def _is_flat(comparison: Comparison, pair: ComparedPair, tier: Tier) -> bool:
    """Whether no method's stitches reach the cheap anchor, though the costly one is better."""
    anchors = anchors_at(comparison, pair, tier)
    if len(anchors) < 2:
        return False
    (_, low, floor), (_, high, best) = anchors
    chosen = [s for metric in chosen_of(pair) for s in measured_at(pair, metric, tier)]
    accuracies = [number(s["accuracy"][tier]) for s in chosen]
    # A stitch cheaper than both anchors has costs of its own, which a saving counts.
    inside = all(s["macs"] >= low for s in chosen)
    rising = low < high and floor < best
    return inside and rising and bool(accuracies) and max(accuracies) <= floor
