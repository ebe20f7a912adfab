"""A comparison read: the parts of a ``klas-comparison`` document, and what they say together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from klas.results.pair import number
from klas.selection.curves import Floats
from klas.study import Metric, Tier

Comparison = Mapping[str, Any]
"""A ``klas-comparison`` document."""

Entry = Mapping[str, Any]
"""A pair's part of one."""


def entry_of(comparison: Comparison, names: tuple[str, str]) -> Entry | None:
    """A pair's part, by source and target; None where the comparison is without the pair."""
    return next((p for p in comparison["pairs"] if (p["source"], p["target"]) == names), None)


def split_of(comparison: Comparison, tier: Tier) -> str:
    """The split that a tier's accuracies were measured on: ``val`` or ``test``."""
    split: str = comparison["finetuned_on"] if tier == "finetuned" else "val"
    return split


def anchors_at(comparison: Comparison, pair: Entry, tier: Tier) -> list[tuple[str, float, float]]:
    """Name, MACs and top-1 of a pair's anchors by cost, on the split that judges the tier.

    An anchor without an accuracy there is left out.
    """
    split = split_of(comparison, tier)
    found = [
        (a["name"], float(a["macs"]), number(a[split]["value"]))
        for a in comparison["anchors"]
        if a["name"] in (pair["source"], pair["target"]) and a[split] is not None
    ]
    return sorted(found, key=lambda anchor: anchor[1])


def chosen_at(pair: Entry, metric: Metric, tier: Tier) -> tuple[Floats, Floats]:
    """(M,) MACs and top-1 of what a method chose; none where the tier is not measured."""
    points = [
        (float(s["macs"]), float(s["accuracy"][tier]))
        for s in pair["chosen"][metric]
        if s["accuracy"][tier] is not None
    ]
    macs, top1 = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return macs, top1


def ranked_candidates(method: Mapping[str, Any]) -> int:
    """How many candidates a method's ρ within buckets rests on."""
    found = method["spearman_within"]
    return 0 if found is None else int(found["candidates"])


def below_cheap_anchor(comparison: Comparison, pairs: Sequence[Entry], tier: Tier) -> str | None:
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


def _is_flat(comparison: Comparison, pair: Entry, tier: Tier) -> bool:
    """Whether no method's stitches reach the cheap anchor, though the costly one is better."""
    anchors = anchors_at(comparison, pair, tier)
    if len(anchors) < 2:
        return False
    (_, low, floor), (_, high, best) = anchors
    chosen = [s for stitches in pair["chosen"].values() for s in stitches]
    top1 = [number(s["accuracy"][tier]) for s in chosen if s["accuracy"][tier] is not None]
    # A stitch cheaper than both anchors has costs of its own, which a saving counts.
    inside = all(s["macs"] >= low for s in chosen)
    rising = low < high and floor < best
    return inside and rising and bool(top1) and max(top1) <= floor
