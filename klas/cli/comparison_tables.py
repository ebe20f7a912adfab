"""A comparison as tables on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from klas.results.comparison_view import Comparison, below_cheap_anchor, ranked_candidates
from klas.results.formatting import METHODS, tally, whole, with_interval
from klas.study import Tier

TRAINED: tuple[Tier, ...] = ("tuned", "finetuned")
"""The tiers that have tables of curves."""


def comparison_tables(comparison: Comparison) -> list[Any]:
    """Agreement with the oracle and the curves, pair by pair and over all pairs."""
    parts: list[Any] = []
    everything = {
        **comparison["all_pairs"],
        "buckets": sum(p["buckets"] for p in comparison["pairs"]),
    }
    for pair in comparison["pairs"]:
        sizes = {metric: len(chosen) for metric, chosen in pair["chosen"].items()}
        parts += _comparison_pair(f"{pair['source']} → {pair['target']}", pair, sizes)
    if len(comparison["pairs"]) > 1:
        parts += _comparison_pair("All pairs", everything, None)
    parts += [
        said
        for tier in TRAINED
        if (said := below_cheap_anchor(comparison, comparison["pairs"], tier)) is not None
    ]
    if not any(m["finetuned"] for p in comparison["pairs"] for m in p["methods"].values()):
        parts.append("Nothing is trained jointly yet: `klas finetune --compare` does it.")
    parts.append(
        f"[95 % intervals] by {comparison['bootstrap']['replicates']:,} bootstrap replicates of "
        "the samples; oracle: tier tuned. ρ within buckets rests on so many candidates, those of "
        "buckets of three or more; over all pairs each pair weighs by them."
    )
    return parts


def _comparison_pair(
    title: str, found: Mapping[str, Any], sizes: Mapping[str, int] | None
) -> list[Any]:
    chance = whole(found["chance"]["value"])
    rows = [
        (
            METHODS[metric],
            "" if sizes is None else str(sizes[metric]),
            tally(method["overlap"]),
            tally(method["containment"]),
            with_interval(method["spearman"]),
            with_interval(method["spearman_within"]),
            str(ranked_candidates(method)),
        )
        for metric, method in found["methods"].items()
    ]
    head = ("chosen", "hits", "holds", "ρ", "ρ within buckets", "candidates")
    agreement = _method_table(
        f"{title}: best of {found['buckets']} buckets hit, or held by the set; chance {chance}",
        head,
        rows,
    )
    return [
        agreement,
        *_curve_tables(title, found, "tuned"),
        *_curve_tables(title, found, "finetuned"),
    ]


def _curve_tables(title: str, found: Mapping[str, Any], tier: Tier) -> list[Any]:
    """What the methods' stitches are worth at a tier, and what KLAS gains; nothing unmeasured."""
    curves = {m: curve for m, method in found["methods"].items() if (curve := method[tier])}
    if not any(curve["mean_top1"] for curve in curves.values()):
        return []
    pairs = max(curve.get("pairs", 0) for curve in curves.values())
    over = f", mean over {pairs} pair{'s' * (pairs > 1)}" if pairs else ""
    areas, gains = [], []
    for metric in found["methods"]:
        curve = curves.get(metric, {})
        areas.append(
            (
                METHODS[metric],
                with_interval(curve.get("mean_top1"), scale=100, digits=1),
                with_interval(curve.get("auc")),
                with_interval(curve.get("auc_stitches")),
                with_interval(curve.get("area_top1"), scale=100, digits=1),
            )
        )
        if metric == "kl":
            continue
        gains.append(
            (
                METHODS[metric],
                with_interval(curve.get("gain"), scale=100),
                with_interval(curve.get("greatest_gain"), scale=100),
                with_interval(curve.get("saving")),
                with_interval(curve.get("greatest_saving")),
            )
        )
    return [
        _method_table(
            f"{title}: tier {tier}{over}",
            ("mean top-1 (%)", "auc", "auc_stitches", "area_top1 (%)"),
            areas,
        ),
        _method_table(
            f"{title}: what KLAS gains (points) and saves (×), tier {tier}{over}",
            ("gain", "greatest gain", "saving", "greatest saving"),
            gains,
        ),
    ]


def _method_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A row for each method."""
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for column in head:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table
