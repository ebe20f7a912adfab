"""The comparison of the methods as parts of the HTML report. Every figure has its interval."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dashboard.charts.comparison import (
    agreement_chart,
    curves_chart,
    score_chart,
)
from dashboard.charts.training_budgets import SIDE_BY_SIDE, budget_chart
from dashboard.model.training_budgets import budget_pairs, budgets_of
from dashboard.report.page import Figure, Paragraph, Part, Table
from dashboard.text.comparison import buckets_of_all, budget_figure_names, judged, level
from klas.errors import KlasError
from klas.results.comparison import compare
from klas.results.comparison_view import (
    AnyMethodFigures,
    below_cheap_anchor,
    chance_of,
    chosen_at,
    chosen_of,
    curve_figure,
    curve_pairs,
    methods_of,
    ranked_candidates,
)
from klas.results.documents.comparison import AllPairs, ComparedPair, Comparison
from klas.results.documents.scores import CANDIDATE_TIERS
from klas.results.formatting import METHODS, tally, whole, with_interval
from klas.results.pair import Document, Pair, number, of_pairs
from klas.selection.space import Place
from klas.storage.store import Store
from klas.study import METRICS, SETS, TIERS, Metric, Study, Tier
from klas.tasks.metric import AccuracyMetric
from klas.tasks.task import task_named

GAINED_ON: tuple[Metric, ...] = ("cka", "snnet")
"""The rivals that the verdict names the gain over."""

ALL_PAIRS = "all"  # in the ids of the figures over all pairs


def comparison_of(
    document: Document, study: Study, pairs: Sequence[Pair], store: Store
) -> tuple[Comparison | None, str]:
    """The comparison over the measured pairs, and a sentence about those left out.

    Where none can be made it is None, and the sentence says why.

    Args:
        pairs: scored ones.
    """
    measured = [
        pair
        for pair in pairs
        if not any(
            pair.unmeasured(pair.accuracy(tier), np.ones(len(pair.macs), dtype=bool)).any()
            for tier in CANDIDATE_TIERS
        )
    ]
    if not measured:
        return None, "it needs every candidate's accuracy at the tiers zero_shot and tuned"
    gone = [pair.name for pair in pairs if pair not in measured]
    try:
        comparison = compare(of_pairs(document, measured), study, store)
    except KlasError as error:
        return None, str(error)
    left_out = f"Without {', '.join(gone)}, which are not measured at tier tuned." if gone else ""
    return comparison, left_out


def accuracies_on_test(
    comparison: Comparison | None, entry: ComparedPair | None
) -> dict[Place, float]:
    """The accuracy in [0, 1] on the test split of KLAS's jointly trained stitches, by (i, j).

    Empty where the study has no test split.
    """
    if comparison is None or entry is None or comparison["finetuned_on"] != "test":
        return {}
    return {
        (s["source_block"], s["target_block"]): number(s["accuracy"]["finetuned"])
        for s in entry["chosen"]["kl"]
        if s["accuracy"]["finetuned"] is not None
    }


def verdict(comparison: Comparison) -> str:
    """Over all pairs: which score finds the best stitch most often, and what KLAS gains."""
    every, buckets = comparison["all_pairs"], buckets_of_all(comparison)
    methods = methods_of(every)
    if not buckets:
        return "No bucket holds two candidates, so no score has a choice to make."
    scored: list[Metric] = [metric for metric in METRICS if metric not in SETS]
    first = max(scored, key=lambda m: _hits(methods[m]))
    named: list[Metric] = list(dict.fromkeys(("kl", "cka", first)))  # the best, whichever it is
    hits = [f"{METHODS[m]} in {tally(methods[m]['overlap'])}" for m in named]
    sentences = [
        f"In how many of {buckets} buckets of {_pairs(len(comparison['pairs']))} a score's "
        f"first choice is the best stitch by tuned accuracy: {', '.join(hits)}; by chance in "
        f"{whole(chance_of(every))}. Most often: {METHODS[first]}."
    ]
    gains = [
        f"{with_interval(gain, scale=100)} points over {METHODS[metric]}"
        for metric in GAINED_ON
        if (gain := curve_figure(methods[metric], "tuned", "gain")) is not None
    ]
    if gains:
        sentences.append(f"At equal cost KLAS gains {' and '.join(gains)} on average (tier tuned).")
    sentences.append(f"Brackets hold {level(comparison)} intervals.")
    return " ".join(sentences)


def overall_parts(comparison: Comparison) -> Iterable[Part]:
    """Agreement, tables and budgets over all pairs."""
    every, buckets = comparison["all_pairs"], buckets_of_all(comparison)
    pairs = comparison["pairs"]
    yield Paragraph(
        text="In each bucket every other score takes as many candidates as KLAS took there; "
        "SN-Net's set is compared as it is, and of a race what it kept of each bucket. The best "
        "stitches are those with the highest accuracy "
        f"at tier tuned. Intervals are {level(comparison)}, from "
        f"{comparison['bootstrap']['replicates']:,} bootstrap replicates over 100 blocks of "
        "samples."
    )
    yield Figure(
        name="agreement",
        chart=agreement_chart(comparison),
        caption="How often each method finds the best stitch of a bucket, over "
        f"{buckets} buckets of {_pairs(len(pairs))}. The table below has the numbers.",
    )
    yield _agreement(every, buckets, None)
    yield Paragraph(
        text="Hits are summed over the pairs. ρ within buckets pools the buckets of all pairs, so "
        "a pair counts by how many of its candidates are in buckets of at least three; the next "
        "column has the number over all pairs. All other figures, the greatest gain and saving "
        "included, are means over the pairs where every method has them.",
        note=True,
    )
    for tier in TIERS:
        joined = _pairs(curve_pairs(every, tier))
        yield from _curves(comparison, every, pairs, tier, f", mean over {joined}")
    yield from budget_figures(comparison, every, ALL_PAIRS)


def pair_comparison_parts(
    comparison: Comparison, entry: ComparedPair, pair: Pair
) -> Iterable[Part]:
    """How well the methods do on a pair.

    How well Γ ranks the stitches, how often each method finds the best ones, and what training
    makes of their choices.
    """
    chosen = {(s["source_block"], s["target_block"]) for s in entry["chosen"]["kl"]}
    klas = entry["methods"]["kl"]
    yield Figure(
        name=f"score-{pair.index}",
        chart=score_chart(pair, "kl", chosen),
        caption=f"Tuned {pair.task.metric.label} of every candidate against its Γ; the "
        "better Γ ranks, the more steadily the points fall. Spearman's ρ is "
        f"{with_interval(klas['spearman'])}, within buckets "
        f"{with_interval(klas['spearman_within'])}; 1 means exactly the order of the accuracies.",
    )
    sizes = {metric: len(stitches) for metric, stitches in chosen_of(entry).items()}
    yield _agreement(entry, entry["buckets"], sizes)
    if any(chosen_at(entry, metric, "finetuned")[0].size for metric in METRICS):
        yield Figure(
            name=f"finetuned-{pair.index}",
            chart=curves_chart(comparison, entry, "finetuned"),
            caption="Accuracy against cost, tier finetuned, "
            f"{judged(comparison, 'finetuned')}. Click a method in the legend to show or hide "
            "it.",
        )
    for tier in TIERS:
        yield from _curves(comparison, entry, [entry], tier, "")
    yield from budget_figures(comparison, entry, str(pair.index))


def _agreement(
    figures: ComparedPair | AllPairs, buckets: int, sizes: Mapping[Metric, int] | None
) -> Table:
    """How well every method agrees with the best by tuned accuracy.

    Args:
        sizes: how many stitches each method chose; None leaves the column out.
    """
    head = [f"hits of {buckets}", f"holds of {buckets}", "ρ", "ρ within buckets", "candidates"]
    return Table(
        title="Agreement with the best by tuned accuracy; chance hits "
        f"{whole(chance_of(figures))} of {buckets}; candidates: how many "
        "ρ within buckets is computed from",
        head=("method", *([] if sizes is None else ["chosen"]), *head),
        rows=[
            (
                METHODS[metric],
                *([] if sizes is None else [sizes[metric]]),
                tally(method["overlap"]),
                tally(method["containment"]),
                with_interval(method["spearman"]),
                with_interval(method["spearman_within"]),
                ranked_candidates(method),
            )
            for metric, method in methods_of(figures).items()
        ],
    )


def _curves(
    comparison: Comparison,
    figures: ComparedPair | AllPairs,
    pairs: Sequence[ComparedPair],
    tier: Tier,
    over: str,
) -> Iterable[Part]:
    """A table of every method's curve at a tier; nothing where no method is measured there.

    Args:
        pairs: those that the figures cover.
        over: says how many pairs the figures are a mean of; empty for one pair.
    """
    rows = [
        (
            METHODS[metric],
            with_interval(curve_figure(method, tier, "mean_top1"), scale=100, digits=1),
            with_interval(curve_figure(method, tier, "auc")),
            with_interval(curve_figure(method, tier, "auc_stitches")),
            with_interval(curve_figure(method, tier, "gain"), scale=100, digits=1),
            with_interval(curve_figure(method, tier, "greatest_gain"), scale=100, digits=1),
            with_interval(curve_figure(method, tier, "saving")),
            with_interval(curve_figure(method, tier, "greatest_saving")),
        )
        for metric, method in methods_of(figures).items()
        if any((method[tier] or {}).values())
    ]
    if not rows:
        return
    areas = (f"mean {_metric(comparison).axis}", "auc", "auc_stitches")
    gains = ("gain of KLAS (points)", "greatest gain", "saving of KLAS (×)", "greatest saving")
    yield Table(
        title=f"Curves, tier {tier}, {judged(comparison, tier)}{over}",
        head=("method", *areas, *gains),
        rows=rows,
    )
    why_alike = below_cheap_anchor(comparison, pairs, tier)
    if why_alike is not None:
        yield Paragraph(text=why_alike, note=True)


def budget_figures(
    comparison: Comparison, part: ComparedPair | AllPairs, name: str
) -> Iterable[Figure]:
    """What every method reaches at each budget of joint training; nothing where none is measured.

    Args:
        part: a pair's, or that over all pairs.
        name: :data:`ALL_PAIRS`, or the pair's index: it ends the figures' ids.
    """
    methods = methods_of(part)
    if not budgets_of(methods):
        return
    for quantity, label in budget_figure_names(comparison).items():
        joined = 0 if "source" in part else budget_pairs(methods_of(part), quantity)
        over = f", mean over {_pairs(joined)}" if joined else ""
        yield Figure(
            name=f"budget-{quantity.replace('_', '-')}-{name}",
            chart=budget_chart(methods, quantity, _metric(comparison)),
            caption=f"{label} of every method against the steps of joint training"
            f"{over}, {judged(comparison, 'finetuned')}. Bars are {level(comparison)} intervals. "
            f"{SIDE_BY_SIDE}",
        )


def _metric(comparison: Comparison) -> AccuracyMetric:
    return task_named(comparison["task"]).metric


def _hits(method: AnyMethodFigures) -> float:
    """In how many buckets its first choice is the best; 0 where that is undefined."""
    overlap = method["overlap"]
    return 0.0 if overlap is None else number(overlap["value"])


def _pairs(count: int) -> str:
    return f"{count} pair{'' if count == 1 else 's'}"
