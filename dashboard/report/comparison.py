"""The comparison of the methods as parts of the HTML report. Every figure has its interval."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dashboard.charts import comparison as charts
from dashboard.report.page import figure, paragraph, table
from dashboard.text.comparison import BUDGET_FIGURES, buckets_of_all, judged, level
from klas.errors import KlasError
from klas.results.comparison import compare
from klas.results.comparison_view import below_cheap_anchor, chosen_at, ranked_candidates
from klas.results.formatting import METHODS, tally, whole, with_interval
from klas.results.pair import Document, Pair, number, of_pairs
from klas.selection.space import Stitch
from klas.storage.store import Store
from klas.study import METRICS, TIERS, Metric, Study, Tier

Figures = Mapping[str, Any]
EVERY = "all"  # in the names of the figures over all pairs


def comparison_of(
    found: Document, study: Study, pairs: Sequence[Pair], store: Store
) -> tuple[Figures | None, str]:
    """The comparison over the pairs that are measured, and a sentence on what is left out; or
    None, and why.

    Args:
        pairs: those that are scored.
    """
    measured = [
        pair
        for pair in pairs
        if all(np.isfinite(pair.accuracy(t)).all() for t in TIERS if t != "finetuned")
    ]
    if not measured:
        return None, "it needs every candidate's accuracy at the tiers zero_shot and tuned"
    gone = [pair.name for pair in pairs if pair not in measured]
    try:
        compared = compare(of_pairs(found, measured), study, store)
    except KlasError as error:
        return None, str(error)
    left_out = f"Without {', '.join(gone)}, which are not measured at tier tuned." if gone else ""
    return compared, left_out


def on_test(compared: Figures | None, entry: Figures | None) -> dict[Stitch, float]:
    """(i, j) of KLAS's jointly trained stitches: top-1 on the test split, where there is one."""
    if compared is None or entry is None or compared["finetuned_on"] != "test":
        return {}
    return {
        (s["source_block"], s["target_block"]): number(s["accuracy"]["finetuned"])
        for s in entry["chosen"]["kl"]
        if s["accuracy"]["finetuned"] is not None
    }


def verdict(compared: Figures) -> str:
    """Over all pairs: whose best is the best, also where it is a rival's, and KLAS's gains."""
    every, buckets = compared["all_pairs"], buckets_of_all(compared)
    methods = every["methods"]
    if not buckets:
        return "No bucket holds two candidates, so no score has a choice to make."
    scored = [metric for metric in METRICS if metric != "snnet"]
    first = max(scored, key=lambda m: number((methods[m]["overlap"] or {"value": 0})["value"]))
    named: list[Metric] = list(dict.fromkeys(("kl", "cka", first)))  # the best, whichever it is
    hits = [f"{METHODS[m]} in {tally(methods[m]['overlap'])}" for m in named]
    said = (
        f"In how many of {buckets} buckets of {_pairs(len(compared['pairs']))} the stitch that a "
        f"score likes best is the best by tuned accuracy: {', '.join(hits)}; chance "
        f"{whole(number(every['chance']['value']))}. Most often: {METHODS[first]}."
    )
    gains = [
        f"{with_interval(gain, scale=100)} points on {METHODS[metric]}"
        for metric in ("cka", "snnet")
        if (gain := (methods[metric]["tuned"] or {}).get("gain")) is not None
    ]
    if gains:
        said += f" At equal cost KLAS gains on average {' and '.join(gains)} (tier tuned)."
    return f"{said} In brackets: {level(compared)} intervals."


def over_all(compared: Figures) -> list[str]:
    """Agreement, tables and budgets over all pairs."""
    every, buckets = compared["all_pairs"], buckets_of_all(compared)
    pairs = compared["pairs"]
    parts = [
        paragraph(
            "Every other score takes in each bucket as many candidates as KLAS took there; "
            "SN-Net's set is compared as it is. Which stitches are best is what tier tuned says. "
            f"Intervals are {level(compared)}, from {compared['bootstrap']['replicates']:,} "
            "bootstrap replicates over 100 blocks of samples."
        ),
        figure(
            "agreement",
            charts.agreement_chart(compared),
            f"Who finds the best stitches of {buckets} buckets of {len(pairs)} pairs. The table "
            "below has the numbers.",
        ),
        _agreement(every, buckets, None),
        paragraph(
            "Hits are summed over the pairs. ρ within buckets pools the buckets of all pairs, so "
            "each pair weighs by its candidates in buckets of at least three; their number stands "
            "beside it. Everything else is a mean over the pairs where every method has it, the "
            "greatest gain and saving too.",
            note=True,
        ),
    ]
    for tier in TIERS:
        counts = {(m.get(tier) or {}).get("pairs", 0) for m in every["methods"].values()}
        parts += _tier_table(compared, every, pairs, tier, f", mean over {_pairs(max(counts))}")
    return [*parts, *budget_figures(compared, every["methods"], EVERY)]


def of_pair(compared: Figures, entry: Figures, pair: Pair) -> Iterable[str]:
    """What Γ foretells, how the methods agree with the oracle, what training makes of it."""
    chosen = {(s["source_block"], s["target_block"]) for s in entry["chosen"]["kl"]}
    yield figure(
        f"score-{pair.index}",
        charts.score_chart(pair, "kl", chosen),
        "Tuned top-1 of every candidate against its Γ: a score that ranks well falls. Spearman's "
        f"ρ {with_interval(entry['methods']['kl']['spearman'])}, within buckets "
        f"{with_interval(entry['methods']['kl']['spearman_within'])}; 1 would be the order of the "
        "accuracies.",
    )
    sizes = {metric: len(stitches) for metric, stitches in entry["chosen"].items()}
    yield _agreement(entry, entry["buckets"], sizes)
    if any(chosen_at(entry, metric, "finetuned")[0].size for metric in METRICS):
        yield figure(
            f"finetuned-{pair.index}",
            charts.curves_chart(compared, entry, "finetuned"),
            f"Accuracy against cost, tier finetuned, {judged(compared, 'finetuned')}. A click "
            "on the legend switches a method.",
        )
    for tier in TIERS:
        yield from _tier_table(compared, entry, [entry], tier, "")
    yield from budget_figures(compared, entry["methods"], str(pair.index))


def _agreement(figures: Figures, buckets: int, sizes: Mapping[Metric, int] | None) -> str:
    """How every method agrees with the oracle."""
    head = [f"hits of {buckets}", f"holds of {buckets}", "ρ", "ρ within buckets", "candidates"]
    rows = [
        (
            METHODS[metric],
            *([] if sizes is None else [sizes[metric]]),
            tally(method["overlap"]),
            tally(method["containment"]),
            with_interval(method["spearman"]),
            with_interval(method["spearman_within"]),
            ranked_candidates(method),
        )
        for metric, method in _in_order(figures)
    ]
    return table(
        ("method", *([] if sizes is None else ["chosen"]), *head),
        rows,
        f"Agreement with the best by tuned accuracy; chance hits "
        f"{whole(number(figures['chance']['value']))} of {buckets}; candidates: those that ρ "
        "within buckets rests on",
    )


def _tier_table(
    compared: Figures, figures: Figures, pairs: Sequence[Figures], tier: Tier, over: str
) -> list[str]:
    """Every method's curve at a tier in figures; nothing where no method is measured there.

    Args:
        pairs: those that the figures are of.
    """
    rows = [
        (
            METHODS[metric],
            with_interval(curve.get("mean_top1"), scale=100, digits=1),
            with_interval(curve.get("auc")),
            with_interval(curve.get("auc_stitches")),
            with_interval(curve.get("gain"), scale=100, digits=1),
            with_interval(curve.get("greatest_gain"), scale=100, digits=1),
            with_interval(curve.get("saving")),
            with_interval(curve.get("greatest_saving")),
        )
        for metric, method in _in_order(figures)
        if any((curve := method.get(tier) or {}).values())
    ]
    if not rows:
        return []
    areas = ("mean top-1 (%)", "auc", "auc_stitches")
    gains = ("gain of KLAS (points)", "greatest gain", "saving of KLAS (×)", "greatest saving")
    title = f"Curves, tier {tier}, {judged(compared, tier)}{over}"
    why = below_cheap_anchor(compared, pairs, tier)
    note = [] if why is None else [paragraph(why, note=True)]
    return [table(("method", *areas, *gains), rows, title), *note]


def budget_figures(compared: Figures, methods: Figures, name: str) -> Iterable[str]:
    """What every method reaches after how much joint training, where that was computed.

    Args:
        methods: a pair's, or those over all pairs.
        name: :data:`EVERY`, or what tells the pair's figures from others.
    """
    steps = charts.budgets_of(methods)
    if not steps:
        return
    for quantity, words in BUDGET_FIGURES.items():
        joined = charts.budget_pairs(methods, quantity) if name == EVERY else 0
        over = f", mean over {_pairs(joined)}" if joined else ""
        yield figure(
            f"budget-{quantity.replace('_', '-')}-{name}",
            charts.budget_chart(methods, quantity),
            f"{words} of every method after so many steps of joint training"
            f"{over}, {judged(compared, 'finetuned')}. Bars are {level(compared)} intervals. "
            f"{charts.SIDE_BY_SIDE}",
        )


def _in_order(figures: Figures) -> list[tuple[Metric, Figures]]:
    return [(metric, figures["methods"][metric]) for metric in METRICS]


def _pairs(count: int) -> str:
    return f"{count} pair{'' if count == 1 else 's'}"
