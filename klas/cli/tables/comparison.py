"""A comparison of KLAS with its rivals, pair by pair and over all pairs."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from klas.cli.tables.layout import new_table
from klas.results.comparison_view import Comparison, below_cheap_anchor, ranked_candidates
from klas.results.formatting import METHODS, tally, whole, with_interval
from klas.study import Tier
from klas.tasks.metric import AccuracyMetric
from klas.tasks.task import task_named

TRAINED: tuple[Tier, ...] = ("tuned", "finetuned")
"""The tiers that have tables of curves."""


def comparison_tables(comparison: Comparison) -> list[RenderableType]:
    """Agreement with the oracle and the curves, pair by pair and over all pairs."""
    metric = task_named(comparison["task"]).metric
    pairs = comparison["pairs"]
    parts: list[RenderableType] = []
    for pair in pairs:
        title = f"{pair['source']} → {pair['target']}"
        sizes = {method: len(chosen) for method, chosen in pair["chosen"].items()}
        parts.append(_agreement_table(title, pair, pair["buckets"], sizes))
        parts += _curve_tables(title, pair, metric)
    if len(pairs) > 1:
        every = comparison["all_pairs"]
        buckets = sum(pair["buckets"] for pair in pairs)
        parts.append(_agreement_table("All pairs", every, buckets, None))
        parts += _curve_tables("All pairs", every, metric)
    parts += [
        sentence
        for tier in TRAINED
        if (sentence := below_cheap_anchor(comparison, pairs, tier)) is not None
    ]
    if not any(method["finetuned"] for pair in pairs for method in pair["methods"].values()):
        parts.append("Nothing is trained jointly yet: `klas finetune --compare` does it.")
    parts.append(
        f"[95 % intervals] from {comparison['bootstrap']['replicates']:,} bootstrap replicates of "
        "the samples; the oracle is tier tuned. ρ within buckets is taken over the candidates "
        "counted beside it, those in buckets of three or more; over all pairs, each pair is "
        "weighted by that count."
    )
    return parts


def _agreement_table(
    title: str, figures: Mapping[str, Any], buckets: int, sizes: Mapping[str, int] | None
) -> Table:
    """How well each method agrees with the oracle.

    Args:
        figures: a pair's part of a comparison, or that of all pairs.
        buckets: how many count.
        sizes: how many stitches each method chose; None for all pairs.
    """
    chance = whole(figures["chance"]["value"])
    table = new_table(
        f"{title}: buckets, of {buckets}, whose best stitch a method ranks first (hits) or chooses "
        f"(holds); by chance {chance} hits",
        ("method", "chosen", "hits", "holds", "ρ", "ρ within buckets", "candidates"),
    )
    for name, method in figures["methods"].items():
        table.add_row(
            METHODS[name],
            "" if sizes is None else str(sizes[name]),
            tally(method["overlap"]),
            tally(method["containment"]),
            with_interval(method["spearman"]),
            with_interval(method["spearman_within"]),
            str(ranked_candidates(method)),
        )
    return table


def _curve_tables(title: str, figures: Mapping[str, Any], metric: AccuracyMetric) -> list[Table]:
    """What the methods' stitches are worth, and what KLAS gains, at every tier measured."""
    tables: list[Table] = []
    for tier in TRAINED:
        # {} where a method has no curve at this tier: its row is dashes.
        curves = {name: method[tier] or {} for name, method in figures["methods"].items()}
        if not any(curve.get("mean_top1") for curve in curves.values()):
            continue
        pairs = max(curve.get("pairs", 0) for curve in curves.values())
        over = f", mean over {pairs} pair{'s' * (pairs > 1)}" if pairs else ""
        tables += [
            _area_table(f"{title}: tier {tier}{over}", curves, metric),
            _gain_table(
                f"{title}: what KLAS gains (points) and saves (×), tier {tier}{over}", curves
            ),
        ]
    return tables


def _area_table(title: str, curves: Mapping[str, Any], metric: AccuracyMetric) -> Table:
    columns = ("method", f"mean {metric.axis}", "auc", "auc_stitches", "area_top1 (%)")
    table = new_table(title, columns)
    for name, curve in curves.items():
        table.add_row(
            METHODS[name],
            with_interval(curve.get("mean_top1"), scale=100, digits=1),
            with_interval(curve.get("auc")),
            with_interval(curve.get("auc_stitches")),
            with_interval(curve.get("area_top1"), scale=100, digits=1),
        )
    return table


def _gain_table(title: str, curves: Mapping[str, Any]) -> Table:
    columns = ("method", "gain", "greatest gain", "saving", "greatest saving")
    table = new_table(title, columns)
    for name, curve in curves.items():
        if name != "kl":
            table.add_row(
                METHODS[name],
                with_interval(curve.get("gain"), scale=100),
                with_interval(curve.get("greatest_gain"), scale=100),
                with_interval(curve.get("saving")),
                with_interval(curve.get("greatest_saving")),
            )
    return table
