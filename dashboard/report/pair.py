"""A pair's part of the HTML report: its map, its chosen stitches, its curves and tables."""

from collections.abc import Iterable, Mapping
from itertools import chain

import numpy as np

from dashboard.charts.heatmap import cell_map
from dashboard.charts.heatmap_labels import values_fit
from dashboard.charts.methods import AT_FIRST
from dashboard.charts.tradeoff import choice_chart, tradeoff_chart
from dashboard.model.tradeoff import Floats, Sheet, curves, limits
from dashboard.report.comparison import accuracies_on_test, pair_comparison_parts
from dashboard.report.page import Cell, Figure, Part, Table
from dashboard.text.quantities import description, field
from klas.results.accuracies import finetuned_accuracy
from klas.results.comparison_view import entry_of
from klas.results.documents.comparison import Comparison
from klas.results.formatting import METHODS, percent
from klas.results.pair import Pair
from klas.results.selections import choose
from klas.selection.buckets import Selection
from klas.selection.space import Place
from klas.storage.store import Store
from klas.study import METRICS, Study, Tier


def pair_parts(
    pair: Pair, study: Study, comparison: Comparison | None, store: Store
) -> Iterable[Part]:
    """Everything that the report shows of a pair.

    Args:
        pair: a scored one.
        study: has the selection that the figures show, by KLAS's score.
        comparison: of the methods; None where there is none.
    """
    spec, sheet = study.selection, Sheet(pair=pair)
    selection = choose(pair, spec)
    shown = field(pair, "kl")
    assert shown is not None  # it is scored
    yield Figure(
        name=f"gamma-{pair.index}",
        chart=cell_map(pair, selection, "kl", "kl"),
        caption="Γ of every stitch, lower is better"
        + (", printed in its cell" if values_fit(shown) else "")
        + ". Chosen stitches are framed; a dot marks the best in its bucket of cost.",
        alt=description(pair, "kl", shown),
    )
    yield Figure(
        name=f"choice-{pair.index}",
        chart=choice_chart(sheet, selection, "kl", tau=spec.tau, tau_mode=spec.tau_mode),
        caption="Γ against cost. Dotted lines are the edges of the buckets; solid lines show the "
        "highest score that τ allows in each.",
    )
    yield from _curves(sheet, selection)
    entry = None if comparison is None else entry_of(comparison, pair.names)
    trained = finetuned_accuracy(store, pair, selection.chosen, study)
    yield _chosen(pair, selection, trained, accuracies_on_test(comparison, entry))
    if comparison is not None and entry is not None:
        yield from pair_comparison_parts(comparison, entry, pair)


def _curves(sheet: Sheet, selection: Selection) -> Iterable[Figure]:
    """Accuracy against cost for all methods, at tier tuned where it is measured, else zero_shot."""
    pair, costs = sheet.pair, sheet.costs["macs"]
    is_tuned = not pair.unmeasured(sheet.accuracy["tuned"], selection.chosen).any()
    tier: Tier = "tuned" if is_tuned else "zero_shot"
    drawn, *missing = curves(
        pair, selection, "kl", {*METRICS} - {"race"}, lambda *_: sheet.accuracy[tier]
    )
    if not drawn:
        return
    ends = limits(costs)
    chart = tradeoff_chart(sheet, selection, costs, tier, drawn, bounds=(ends.low, ends.high))
    chart.layout.clickmode = None  # nothing opens here
    for trace in chart.data:
        if trace.legendgroup and trace.legendgroup not in AT_FIRST:
            trace.visible = "legendonly"
    names = [METHODS[m] for m in METRICS if m in chain(*missing)]
    not_measured = f" Not measured: {', '.join(names)}." if names else ""
    yield Figure(
        name=f"curve-{pair.index}",
        chart=chart,
        caption=f"Accuracy against cost, tier {tier}. Click a method in the legend to show or hide "
        "it, double-click to show it alone. Bars are the 95 % interval of each accuracy by itself."
        f"{not_measured}",
    )


def _chosen(
    pair: Pair,
    selection: Selection,
    trained: Floats | None,
    on_test: Mapping[Place, float],
) -> Table:
    """The chosen stitches with their accuracies at every tier.

    Args:
        trained: (N,) accuracies in [0, 1] on the validation split after joint training.
        on_test: the same on the test split, by stitch; empty where there are none.
    """
    tiers: dict[str, Floats] = {tier: pair.accuracy(tier) for tier in ("zero_shot", "tuned")}
    if trained is not None:
        tiers["finetuned"] = trained
    scores = pair.scores("kl")
    chosen = np.flatnonzero(selection.chosen)
    rows: list[tuple[Cell, ...]] = [
        (
            f"{i} → {j}",
            int(selection.bucket[row]),
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
    return Table(
        title=f"{len(rows)} of {int(pair.in_space.sum())} stitches chosen",
        head=("chosen stitch", "bucket", pair.unit.name, "parameters", "Γ", *heads),
        rows=rows,
    )
