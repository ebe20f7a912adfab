"""Choose: τ and buckets above, accuracy against cost below, then the budget and the list."""

from collections.abc import Iterable, Sequence

import numpy as np
import streamlit as st

from dashboard.charts.methods import AT_FIRST
from dashboard.charts.tradeoff import choice_chart, tradeoff_chart
from dashboard.controls import cost as cost_controls
from dashboard.controls import picture_format as pictures
from dashboard.controls.all_pairs import all_pairs, say_unscored
from dashboard.controls.budget import budget_picker
from dashboard.controls.downloads import add_button, list_button, take_away
from dashboard.controls.heading import (
    heading,
    pick_metric,
    pick_pair,
    pick_tier,
    says_errors,
    scored_document,
)
from dashboard.controls.job_panel import job_panel
from dashboard.controls.jobs import estimate, start_button
from dashboard.controls.selection import selection_controls
from dashboard.model.tradeoff import Bits, Curve, Floats, Sheet, curves, inside, within
from dashboard.session.accuracies import first_tier
from dashboard.session.choices import bound, keep
from dashboard.session.drawings import close_stitch, open_clicked_stitch, tradeoff_drawing
from dashboard.session.resources import store, study
from dashboard.session.state import choices
from dashboard.tables.tradeoff import METHOD, above, areas_table, chosen_table, verdict
from dashboard.text.quantities import QUANTITIES
from klas.jobs.kinds import FinetuneJob
from klas.results.accuracies import finetuned_accuracy
from klas.results.costs import Costs, timings_of
from klas.results.formatting import METHODS, percent
from klas.results.selections import choose
from klas.selection.buckets import Selection
from klas.study import METRICS, Metric, SelectionSpec, Tier

COST = (
    "What the curves, the range and the budget are about. Buckets are of MACs, as the paper's. "
    "Latency is the median time of a forward pass of one image, measured on a machine; MACs are "
    "multiply-accumulates of the same pass."
)
LINE, PANEL = 56, 160  # pixels that are kept free for what comes and goes


@st.fragment
@says_errors
def _choice(sheets: Sequence[Sheet], metric: Metric, start: Tier) -> None:
    """All that hangs on a control.

    Args:
        sheets: the pair, once for every machine that it was timed on.
        start: whose accuracies are shown at first.
    """
    spec, beside = selection_controls(metric)
    pair = sheets[0].pair
    picked = choose(pair, spec)
    row = st.container(horizontal=True, gap="medium")
    with row:
        cost_name = cost_controls.pick_cost(COST)
    place = row.empty()  # of the range, which hangs on the machine
    with row:
        sheet = cost_controls.pick_machine(sheets, cost_name)
        if cost_name == "latency":  # in this row, so that nothing below moves
            cost_controls.latency_button(pair, timed=sheet.timings is not None)
    if cost_name not in sheet.costs:
        cost_name = "macs"
    cost_controls.settle_axis(cost_name)
    costs = sheet.costs[cost_name]
    with place:
        bounds, ends = cost_controls.pick_range(costs)
    limited = bounds != (ends.low, ends.high)
    shown = inside(costs, bounds, ends.step)
    chosen = picked.chosen & shown
    accuracies: dict[Tier, Floats | None] = {
        **sheet.accuracy,
        "finetuned": finetuned_accuracy(store(), pair, picked.chosen, study()),
    }
    with beside:
        tier = pick_tier(start)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader(
            f"{int(picked.chosen.sum())} of {int(pair.in_space.sum())} stitches chosen",
            help=QUANTITIES[metric].words,
        )
        with st.container(height=LINE, border=False):
            st.caption(_about_choice(picked, int(chosen.sum()) if limited else None))
        st.plotly_chart(
            choice_chart(
                sheet,
                picked,
                metric,
                tau=spec.tau,
                tau_mode=spec.tau_mode,
                bounds=bounds if cost_name == "macs" else None,
                inside=shown,
            ),
            config=pictures.config(),
            alt=f"{METHODS[metric]} of every stitch against its MACs, the chosen ones marked",
        )
    with right:
        st.subheader("Accuracy against cost", help=METHOD)
        wanted = _pick_curves(metric)
        rival = _rival(metric)
        found, unscored, unmeasured = _measured(
            sheet, picked, metric, {metric, rival, *wanted}, tier, accuracies[tier]
        )
        by_method = {curve.metric: within(curve, shown) for curve in found}
        shown_too = [c for c in found if c.metric == metric or c.metric in wanted]
        drawn = [by_method[c.metric] for c in shown_too]
        looks = (pair.names, spec, tier, cost_name, bounds, sorted(by_method), wanted)
        key, ringed = tradeoff_drawing(repr(looks))
        st.plotly_chart(
            tradeoff_chart(sheet, picked, costs, tier, drawn, bounds=bounds, cell=ringed),
            config=pictures.config(),
            key=key,
            on_select=lambda: open_clicked_stitch(key),
            selection_mode="points",
            alt=f"Top-1 of the chosen stitches and of the anchors against {costs.title}",
        )
    _opened(sheet, costs, tier, drawn)
    words, areas = st.columns(2, gap="large")
    with words:
        _pick_rival(metric, rival)
        with st.container(height=PANEL, border=False):
            said = []
            if metric in by_method:
                said.append(above(pair, costs, by_method[metric]))
            if metric in by_method and rival in by_method:
                said += verdict(pair, costs, by_method[metric], by_method[rival])
            if rival == "snnet" and not pair.snnet.any():
                said.append("SN-Net's set is empty for this pair.")
            st.markdown("  \n".join(said))
    with areas:
        if drawn:
            areas_table(pair, drawn)
        _missing(sheet, spec, tier, unscored, unmeasured)
    budget_picker(sheet, costs, ends, metric, picked, accuracies, tier, shown_too)
    st.subheader("Chosen stitches")
    chosen_table(sheet, metric, picked, chosen, accuracies)
    add_button([(pair, chosen)], limited=limited)
    if limited:
        st.caption(
            "The file and the command take the whole choice, whatever the range of cost; my list "
            "takes what lies in it."
        )
    name = f"stitches-{'-'.join(pair.names)}.json"
    take_away([(pair, picked.chosen)], spec, tier, name, ["--pair", *pair.names])


def _about_choice(picked: Selection, within_range: int | None) -> str:
    words = "Dotted: edges of the buckets. Lines: up to which score τ takes a stitch."
    if within_range is not None:
        words += f" **{within_range}** of the chosen lie in the range of cost."
    silent = int(np.isinf(picked.lowest).sum())
    if silent:
        words += f" {silent} buckets hold only infinite scores and choose nothing."
    return words


def _pick_curves(own: Metric) -> tuple[Metric, ...]:
    """The methods whose curves stand beside the chosen score's."""
    others = [metric for metric in METRICS if metric != own]
    wanted = [m for m in choices().get("curves", AT_FIRST) if m != own]

    def change(named: Sequence[Metric]) -> None:
        keep("curves", tuple(metric for metric in METRICS if metric in named))

    st.pills(
        "Curves beside it",
        others,
        selection_mode="multi",
        format_func=METHODS.__getitem__,
        label_visibility="collapsed",
        **bound("curves", wanted, own, change=change),
    )
    return tuple(wanted)


def _rival(own: Metric) -> Metric:
    """The method that the sentence compares with."""
    rival = choices().get("rival", "snnet")
    return rival if rival != own else "snnet"


def _pick_rival(own: Metric, rival: Metric) -> None:
    st.selectbox(
        f"{METHODS[own]} compared with",
        [metric for metric in METRICS if metric != own],
        format_func=METHODS.__getitem__,
        help="A rival takes in every bucket as many stitches as the chosen score took. SN-Net's "
        "set is compared as it is. Intervals by bootstrap are on the **Compare** page.",
        **bound("rival", rival, own),
    )


def _measured(
    sheet: Sheet,
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

    def accuracy(chosen: Bits) -> Floats | None:
        if tier != "finetuned" or chosen is picked.chosen:
            return known
        return finetuned_accuracy(store(), sheet.pair, chosen, study())

    return curves(sheet.pair, picked, own, wanted, accuracy)


def _missing(
    sheet: Sheet,
    spec: SelectionSpec,
    tier: Tier,
    unscored: Sequence[Metric],
    missing: Sequence[Metric],
) -> None:
    """What is not drawn, for want of its score or of its accuracies, and how to get them."""
    names = ", ".join(METHODS[metric] for metric in missing)
    if unscored:
        st.info(
            f"Score not computed, so not drawn: {', '.join(METHODS[m] for m in unscored)}. Run the "
            "stage **scores** on the **Study** page.",
            icon=":material/info:",
        )
    if missing and tier != "finetuned":
        st.info(
            f"Not measured at tier {tier}, so not drawn: {names}. Run the stage **{tier}** on the "
            "**Study** page.",
            icon=":material/info:",
        )
    if not missing or tier != "finetuned":
        return
    each = f"{study().finetuning.steps:,} steps" + (" each" if len(missing) > 1 else "")
    st.info(
        f"Not trained jointly yet, so not drawn: {names}. It takes {each}. The **Compare** page "
        "trains every method, at several budgets of steps.",
        icon=":material/info:",
    )
    chosen_so = study().model_copy(update={"selection": spec})
    job = FinetuneJob(pair=sheet.pair.names, metrics=tuple(missing))
    with st.container(horizontal=True, vertical_alignment="center"):
        start_button("Train jointly", chosen_so, job)
        estimate(chosen_so, job)


def _opened(sheet: Sheet, costs: Costs, tier: Tier, drawn: Sequence[Curve]) -> None:
    """The stitch that was clicked, in a line, and what can be done with it.

    Args:
        drawn: of ``finetuned`` each has a training of its own, with weights of its own.
    """
    pair, cell = sheet.pair, choices().get("cell")
    row = pair.everywhere.index(cell) if cell in pair.everywhere else None
    with st.container(horizontal=True, vertical_alignment="center", height=LINE, border=False):
        if row is None:
            st.caption(
                "A click on a stitch of a curve opens it here. Bars are 95 % intervals of each "
                "accuracy by itself."
            )
            return
        i, j = pair.stitches[row]
        value = costs.stitches[row] / costs.unit.scale
        if tier == "finetuned":
            trained = [(METHODS[c.metric], c.accuracy[row]) for c in drawn if c.chosen[row]]
            of_each = [f"{percent(top1)} with the choice of {name}" for name, top1 in trained]
            measured = ", ".join(of_each) or "not measured"
        else:
            measured = percent(sheet.accuracy[tier][row])
        st.markdown(
            f"Stitch **{i} → {j}**: {value:.4g} {costs.unit.name}, {measured} ({tier})",
            width="content",
        )
        st.page_link("views/scores.py", label="Open on Scores", icon=":material/grid_on:")
        list_button(pair, row, place="opened")
        st.button("Close", key="close:cell", icon=":material/close:", on_click=close_stitch)


@says_errors
def page() -> None:
    """The page."""
    heading("Choose stitches")
    found = scored_document()
    left, right = st.columns([3, 2], gap="large")
    with left:
        pair = pick_pair(found, or_all=True)
    with right:
        metric = pick_metric()
    job_panel(study().name)
    if pair is None:
        all_pairs(found, metric)
        return
    if not pair.is_scored(metric):
        say_unscored([pair], metric)
        return
    timings = timings_of(store(), study(), pair)
    sheets = [Sheet(pair=pair, timings=t) for t in timings] or [Sheet(pair=pair)]
    _choice(sheets, metric, first_tier([pair]))


page()
