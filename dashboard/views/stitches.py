"""Choose: τ and buckets above, accuracy against cost below, then the budget and the list."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import streamlit as st

from dashboard.charts.tradeoff import choice_chart, tradeoff_chart
from dashboard.controls.all_pairs import all_pairs, say_unscored
from dashboard.controls.budget import budget_picker
from dashboard.controls.cost import CostChoice, cost_controls
from dashboard.controls.curves import missing_curves, pick_curves, pick_rival, rival_of
from dashboard.controls.downloads import add_button, selection_downloads
from dashboard.controls.figure_settings import figure_config
from dashboard.controls.heading import (
    heading,
    pick_metric,
    pick_pair,
    pick_tier,
    says_errors,
    scored_document,
)
from dashboard.controls.job_panel import job_panel
from dashboard.controls.open_stitch import LINE, open_stitch
from dashboard.controls.race import race_panel
from dashboard.controls.selection import selection_controls
from dashboard.model.tradeoff import Bits, Curve, Floats, Sheet, curves, within
from dashboard.session.accuracies import first_tier
from dashboard.session.drawings import open_clicked_stitch, tradeoff_drawing
from dashboard.session.resources import store, study
from dashboard.tables.tradeoff import areas_table, chosen_table
from dashboard.text.markup import plain
from dashboard.text.quantities import QUANTITIES
from dashboard.text.tradeoff import METHOD_HELP, above, verdict
from klas.results.accuracies import finetuned_accuracy
from klas.results.choice_notes import resolution_note
from klas.results.costs import Costs
from klas.results.formatting import METHODS
from klas.results.pair import Pair
from klas.results.selections import choose, racing_in, why_nothing
from klas.results.timings import timings_of
from klas.selection.buckets import Selection
from klas.study import Metric, SelectionSpec, Tier

PANEL = 160  # pixels that are kept free for the sentences, so that nothing below moves


@says_errors
def page() -> None:
    """The page."""
    heading("Choose stitches")
    document = scored_document()
    left, right = st.columns([3, 2], gap="large")
    with left:
        pair = pick_pair(document, or_all=True)
    with right:
        metric = pick_metric()
    job_panel(study().name)
    if pair is None:
        all_pairs(document, metric)
    elif not pair.is_scored(metric):
        say_unscored([pair], metric)
    else:
        timings = timings_of(store(), study(), pair)
        sheets = [Sheet(pair=pair, timings=t) for t in timings] or [Sheet(pair=pair)]
        _one_pair(sheets, metric, first_tier([pair]))


@st.fragment
@says_errors
def _one_pair(sheets: Sequence[Sheet], metric: Metric, start: Tier) -> None:
    """All that a control on this page draws again.

    Args:
        sheets: the pair, once for every machine that it was timed on.
        start: whose accuracies are shown at first.
    """
    spec, beside = selection_controls(metric)
    pair = sheets[0].pair
    picked = choose(pair, spec)
    cost = cost_controls(sheets)
    chosen = picked.chosen & cost.inside
    accuracies: dict[Tier, Floats | None] = {
        **cost.sheet.accuracy,
        "finetuned": finetuned_accuracy(store(), pair, picked.chosen, study()),
    }
    with beside:
        tier = pick_tier(start)

    left, right = st.columns(2, gap="large")
    with left:
        _choice(cost, picked, spec)
    with right:
        st.subheader("Accuracy against cost", help=METHOD_HELP)
        wanted, rival = {metric, *pick_curves(metric)}, rival_of(metric)
        measured, unscored, unmeasured = _measured(
            pair, picked, metric, wanted | {rival}, tier, accuracies[tier]
        )
        by_method = {curve.metric: within(curve, cost.inside) for curve in measured}
        drawn = [by_method[curve.metric] for curve in measured if curve.metric in wanted]
        appearance = (pair.names, spec, tier, cost.costs.name, cost.bounds, sorted(by_method))
        _tradeoff(cost, picked, tier, drawn, repr((*appearance, sorted(wanted))))
    open_stitch(cost.sheet, cost.costs, tier, drawn)

    left, right = st.columns(2, gap="large")
    with left:
        pick_rival(metric, rival)
        _verdict(pair, cost.costs, by_method, metric, rival)
    with right:
        if drawn:
            areas_table(pair, drawn)
        missing_curves(pair, spec, tier, unscored, unmeasured, wanted | {rival})
    in_any_range = [curve for curve in measured if curve.metric in wanted]
    budget_picker(
        cost.sheet, cost.costs, cost.limits, metric, picked, accuracies, tier, in_any_range
    )

    if tier == "finetuned":
        race_panel(pair, picked, metric)
    st.subheader("Chosen stitches")
    if note := resolution_note(pair, picked, metric):
        st.warning(f"{plain(note)}.", icon=":material/warning:")
    chosen_table(cost.sheet, metric, picked, chosen, accuracies)
    add_button([(pair, chosen)], limited=cost.is_limited)
    if cost.is_limited:
        st.caption(
            "The file and the command contain the whole choice, whatever the range of cost; my "
            "list takes only what is in the range."
        )
    name = f"stitches-{'-'.join(pair.names)}.json"
    selection_downloads([(pair, picked.chosen)], spec, tier, name, pair.names)


def _choice(cost: CostChoice, picked: Selection, spec: SelectionSpec) -> None:
    """What the score chooses, bucket by bucket."""
    pair, metric = cost.sheet.pair, spec.metric
    st.subheader(
        f"{int(picked.chosen.sum())} of {int(pair.in_space.sum())} stitches chosen",
        help=QUANTITIES[metric].explanation,
    )
    with st.container(height=LINE, border=False):
        reason = why_nothing(pair, spec)
        st.caption(plain(f"{reason}.") if reason else _about_choice(cost, picked, metric))
    st.plotly_chart(
        choice_chart(
            cost.sheet,
            picked,
            metric,
            tau=spec.tau,
            tau_mode=spec.tau_mode,
            bounds=cost.bounds if cost.costs.name == "macs" else None,
            inside=cost.inside,
        ),
        config=figure_config(),
        alt=f"{METHODS[metric]} of every stitch against its MACs, the chosen ones marked",
    )


def _about_choice(cost: CostChoice, picked: Selection, metric: Metric) -> str:
    sentences = []
    if resolution_note(cost.sheet.pair, picked, metric):  # in full it would move what is below
        sentences.append(
            ":material/warning: The choice hangs on changes of resolution: see **Chosen stitches**."
        )
    sentences += ["Dotted: edges of the buckets. Lines: the highest score that τ lets through."]
    if cost.is_limited:
        count = int((picked.chosen & cost.inside).sum())
        sentences.append(f"**{count}** of the chosen lie in the range of cost.")
    infinite = int(np.isinf(picked.lowest).sum())
    if infinite:
        sentences.append(f"{infinite} buckets hold only infinite scores and choose nothing.")
    return " ".join(sentences)


def _measured(
    pair: Pair,
    picked: Selection,
    own: Metric,
    wanted: Iterable[Metric],
    tier: Tier,
    known: Floats | None,
) -> tuple[list[Curve], list[Metric], list[Metric]]:
    """The methods at a tier, as :func:`dashboard.model.tradeoff.curves` sorts them.

    Args:
        known: (N,) accuracies of what ``own`` chose; of ``finetuned`` the others' are their own.
    """

    def accuracy(metric: Metric, chosen: Bits) -> Floats | None:
        if tier != "finetuned" or chosen is picked.chosen:
            return known
        return finetuned_accuracy(store(), pair, chosen, study(), racing_in(picked, metric))

    if tier != "finetuned":
        wanted = {*wanted} - {"race"}  # which has stitches of its own only there
    return curves(pair, picked, own, wanted, accuracy)


def _tradeoff(
    cost: CostChoice, picked: Selection, tier: Tier, drawn: Sequence[Curve], appearance: str
) -> None:
    """Accuracy against cost; a click opens a stitch.

    Args:
        appearance: all that the chart depends on but the open stitch.
    """
    pair = cost.sheet.pair
    key, ringed = tradeoff_drawing(appearance)
    st.plotly_chart(
        tradeoff_chart(
            cost.sheet, picked, cost.costs, tier, drawn, bounds=cost.bounds, cell=ringed
        ),
        config=figure_config(),
        key=key,
        on_select=lambda: open_clicked_stitch(key),
        selection_mode="points",
        alt=f"{pair.task.metric.heading} of the chosen stitches and of the anchors against "
        f"{cost.costs.title}",
    )


def _verdict(
    pair: Pair, costs: Costs, by_method: Mapping[Metric, Curve], metric: Metric, rival: Metric
) -> None:
    """How the chosen score does against the anchors and against a rival."""
    with st.container(height=PANEL, border=False):
        sentences = []
        if metric in by_method:
            sentences.append(above(pair, costs, by_method[metric]))
        if metric in by_method and rival in by_method:
            sentences += verdict(pair, costs, by_method[metric], by_method[rival])
        if rival == "snnet" and not pair.snnet.any():
            sentences.append("SN-Net's set is empty for this pair.")
        st.markdown("  \n".join(sentences))


page()
