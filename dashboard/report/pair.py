"""A pair's part of the HTML report: its map, its choice, its curves, what is trained of it."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np

from dashboard.charts.heatmap import cell_map
from dashboard.charts.heatmap_labels import values_fit
from dashboard.charts.methods import AT_FIRST
from dashboard.charts.tradeoff import choice_chart, tradeoff_chart
from dashboard.model.tradeoff import Floats, Sheet, curves, limits
from dashboard.report import comparison as rivals
from dashboard.report.page import figure, table
from dashboard.text.quantities import field, in_words
from klas.results.comparison_view import entry_of
from klas.results.formatting import METHODS, percent
from klas.results.pair import Pair, finetuned_accuracy
from klas.results.selections import choose
from klas.selection.buckets import Selection
from klas.selection.space import Stitch
from klas.storage.store import Store
from klas.study import METRICS, Study, Tier


def pair_parts(
    pair: Pair, study: Study, compared: Mapping[str, Any] | None, store: Store
) -> Iterable[str]:
    """All of a pair.

    Args:
        pair: it is scored.
        study: with the selection that the figures show, by KLAS's score.
        compared: the comparison of the methods, where it could be made.
    """
    spec, sheet = study.selection, Sheet(pair=pair)
    picked = choose(pair, spec)
    shown = field(pair, "kl")
    assert shown is not None  # it is scored
    yield figure(
        f"gamma-{pair.index}",
        cell_map(pair, picked, "kl", "kl"),
        "Γ of every stitch, lower is better"
        + (", printed in its cell" if values_fit(shown) else "")
        + ". Framed are the chosen; a dot marks the best of its bucket of cost.",
        in_words(pair, "kl", shown),
    )
    yield figure(
        f"choice-{pair.index}",
        choice_chart(sheet, picked, "kl", tau=spec.tau, tau_mode=spec.tau_mode),
        "Γ against cost. Dotted: edges of the buckets. Lines: up to which score τ takes a stitch.",
    )
    yield from _curves(sheet, picked)
    entry = None if compared is None else entry_of(compared, pair.names)
    trained = finetuned_accuracy(store, pair, picked.chosen, study)
    yield _chosen(pair, picked, trained, rivals.on_test(compared, entry))
    if compared is not None and entry is not None:
        yield from rivals.of_pair(compared, entry, pair)


def _curves(sheet: Sheet, picked: Selection) -> Iterable[str]:
    """Accuracy against cost of all methods, tuned, or by least squares where that is all."""
    pair, costs = sheet.pair, sheet.costs["macs"]
    is_tuned = np.isfinite(sheet.accuracy["tuned"][picked.chosen]).all()
    tier: Tier = "tuned" if is_tuned else "zero_shot"
    drawn, *missing = curves(pair, picked, "kl", METRICS, lambda _: sheet.accuracy[tier])
    if not drawn:
        return
    ends = limits(costs)
    chart = tradeoff_chart(sheet, picked, costs, tier, drawn, bounds=(ends.low, ends.high))
    chart.layout.clickmode = None  # nothing opens here
    for trace in chart.data:
        if trace.legendgroup and trace.legendgroup not in AT_FIRST:
            trace.visible = "legendonly"
    names = [METHODS[m] for m in METRICS if m in chain(*missing)]
    lacking = f" Not measured: {', '.join(names)}." if names else ""
    yield figure(
        f"curve-{pair.index}",
        chart,
        f"Accuracy against cost, tier {tier}. A click on the legend switches a method, a double "
        f"click shows it alone. Bars are 95 % intervals of each accuracy by itself.{lacking}",
    )


def _chosen(
    pair: Pair,
    picked: Selection,
    trained: Floats | None,
    on_test: Mapping[Stitch, float],
) -> str:
    """The chosen stitches with their accuracies, the jointly trained ones by split."""
    tiers: dict[str, Any] = {tier: pair.accuracy(tier) for tier in ("zero_shot", "tuned")}
    if trained is not None:
        tiers["finetuned"] = trained
    scores = pair.scores("kl")
    chosen = np.flatnonzero(picked.chosen)
    rows = [
        (
            f"{i} → {j}",
            picked.bucket[row],
            f"{pair.macs[row] / pair.unit.scale:.4g}",
            f"{pair.raw['candidates'][row]['params']:,}",
            f"{scores[row]:.4g}",
            *(percent(values[row]) for values in tiers.values()),
            *([percent(on_test[i, j])] if on_test else []),
        )
        for row in chosen[np.argsort(pair.macs[chosen], kind="stable")]
        for i, j in [pair.stitches[row].tolist()]
    ]
    heads = [*tiers, *(["finetuned, test split"] if on_test else [])]
    return table(
        ("chosen stitch", "bucket", pair.unit.name, "parameters", "Γ", *heads),
        rows,
        f"{len(rows)} of {int(pair.in_space.sum())} stitches chosen",
    )
