"""A comparison of KLAS with its rivals, pair by pair and over all pairs."""

from collections.abc import Mapping

from rich.console import RenderableType
from rich.table import Table

from klas.cli.tables.layout import new_table
from klas.results.comparison_view import (
    AnyMethodFigures,
    anchors_alone,
    below_cheap_anchor,
    chance_of,
    chosen_of,
    curve_figure,
    curve_pairs,
    methods_of,
    ranked_candidates,
)
from klas.results.documents.comparison import AllPairs, ComparedPair, Comparison
from klas.results.formatting import METHODS, tally, whole, with_interval
from klas.study import Metric, Tier
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
        sizes = {method: len(chosen) for method, chosen in chosen_of(pair).items()}
        parts.append(_agreement_table(title, pair, pair["buckets"], sizes))
        parts += _curve_tables(title, pair, metric)
        parts += _baseline(comparison, pair)
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
    if not any(m["finetuned"] for pair in pairs for m in methods_of(pair).values()):
        parts.append("Nothing is trained jointly yet: `klas finetune --compare` does it.")
    parts.append(
        f"[95 % intervals] from {comparison['bootstrap']['replicates']:,} bootstrap replicates of "
        "the samples; the oracle is tier tuned. ρ within buckets is taken over the candidates "
        "counted beside it, those in buckets of three or more; over all pairs, each pair is "
        "weighted by that count."
    )
    return parts


def _baseline(comparison: Comparison, pair: ComparedPair) -> list[RenderableType]:
    """What the same training buys without stitches."""
    steps = comparison["study"]["finetuning"]["steps"]
    alone = [
        f"{name} {with_interval(figure, scale=100, digits=1)} %"
        for name, figure in anchors_alone(pair, steps).items()
    ]
    return [f"Each anchor alone, trained for as many steps: {', '.join(alone)}"] if alone else []


def _agreement_table(
    title: str, figures: ComparedPair | AllPairs, buckets: int, sizes: Mapping[Metric, int] | None
) -> Table:
    """How well each method agrees with the oracle.

    Args:
        figures: a pair's part of a comparison, or that of all pairs.
        buckets: how many count.
        sizes: how many stitches each method chose; None for all pairs.
    """
    chance = whole(chance_of(figures))
    table = new_table(
        f"{title}: buckets, of {buckets}, whose best stitch a method ranks first (hits) or chooses "
        f"(holds); by chance {chance} hits",
        ("method", "chosen", "hits", "holds", "ρ", "ρ within buckets", "candidates"),
    )
    for name, method in methods_of(figures).items():
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


def _curve_tables(
    title: str, figures: ComparedPair | AllPairs, metric: AccuracyMetric
) -> list[Table]:
    """What the methods' stitches are worth, and what KLAS gains, at every tier measured."""
    tables: list[Table] = []
    methods = methods_of(figures)
    for tier in TRAINED:
        if not any(curve_figure(method, tier, "mean_top1") for method in methods.values()):
            continue
        pairs = 0 if "source" in figures else curve_pairs(figures, tier)
        over = f", mean over {pairs} pair{'s' * (pairs > 1)}" if pairs else ""
        tables += [
            _area_table(f"{title}: tier {tier}{over}", methods, tier, metric),
            _gain_table(
                f"{title}: what KLAS gains (points) and saves (×), tier {tier}{over}",
                methods,
                tier,
            ),
        ]
    return tables


def _area_table(
    title: str, methods: Mapping[Metric, AnyMethodFigures], tier: Tier, metric: AccuracyMetric
) -> Table:
    columns = ("method", f"mean {metric.axis}", "auc", "auc_stitches", f"area_{metric.name} (%)")
    table = new_table(title, columns)
    for name, method in methods.items():
        table.add_row(
            METHODS[name],
            with_interval(curve_figure(method, tier, "mean_top1"), scale=100, digits=1),
            with_interval(curve_figure(method, tier, "auc")),
            with_interval(curve_figure(method, tier, "auc_stitches")),
            with_interval(curve_figure(method, tier, "area_top1"), scale=100, digits=1),
        )
    return table


def _gain_table(title: str, methods: Mapping[Metric, AnyMethodFigures], tier: Tier) -> Table:
    columns = ("method", "gain", "greatest gain", "saving", "greatest saving")
    table = new_table(title, columns)
    for name, method in methods.items():
        if name != "kl":
            table.add_row(
                METHODS[name],
                with_interval(curve_figure(method, tier, "gain"), scale=100),
                with_interval(curve_figure(method, tier, "greatest_gain"), scale=100),
                with_interval(curve_figure(method, tier, "saving")),
                with_interval(curve_figure(method, tier, "greatest_saving")),
            )
    return table
