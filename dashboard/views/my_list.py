"""My list: stitches chosen by a rule and edited by hand, beside a list from a file."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts.lists import lists_chart
from dashboard.charts.methods import STYLES
from dashboard.controls.add_to_list import fill_list
from dashboard.controls.downloads import Picked
from dashboard.controls.figure_settings import figure_config
from dashboard.controls.heading import (
    heading,
    metric_at_hand,
    pick_tier,
    says_errors,
    scored_document,
    selection,
)
from dashboard.controls.job_panel import job_panel
from dashboard.controls.list_downloads import list_downloads, list_name
from dashboard.controls.list_file import open_list_file, other_list
from dashboard.controls.list_table import list_table
from dashboard.controls.train import train_stitches
from dashboard.controls.trained import trained_networks
from dashboard.model.exports import Training
from dashboard.model.list_comparison import (
    Listed,
    comparison_rows,
    entries_in,
    gain_and_saving,
    of_own_anchors,
)
from dashboard.model.list_entries import picks
from dashboard.model.tradeoff import Bits, Floats
from dashboard.session import my_list
from dashboard.session.accuracies import race_at_hand, training_at_hand
from dashboard.session.resources import study
from dashboard.tables.columns import number_column
from dashboard.text.lists import list_verdict
from dashboard.text.markup import plain
from klas.results.documents.stitches import StitchList
from klas.results.formatting import METHODS
from klas.results.pair import Document, Pair, cost_unit
from klas.results.selections import choose
from klas.results.stitch_list import stitch_list
from klas.study import TIERS, SelectionSpec
from klas.tasks.task import task_named


@says_errors
def page() -> None:
    """The page."""
    heading("My list")
    document = scored_document()
    job_panel(study().name)
    with st.container():  # one place on the page, so that the uploader below keeps its own
        own = _own(document)
    with st.container():
        trained_networks(document)
    left, right = st.columns(2, gap="large")
    with left:
        other = open_list_file()
        if other is not None:
            other_list(document, other)
    with right:
        list_downloads(document, own)

    mine = [] if own is None else [Listed("my list", own, *STYLES["kl"])]
    theirs = [] if other is None else [of_own_anchors(document, other)]
    shown = [listed for listed in (*mine, *theirs) if listed.stitches]
    if shown:
        _compared(document, shown)


def _own(document: Document) -> StitchList | None:
    """One's list in the form that is exported, and what can be done with it; None if empty."""
    picked = picks(document, my_list.entries())
    scored, spec = _scored(picked)
    own = _own_list(document, scored, spec)
    fill_list(document, spec)
    _unknown(len(my_list.entries()) - sum(int(mask.sum()) for _, mask in picked))
    if own is not None:
        masks = {pair.names: mask for pair, mask in scored}
        list_table(document, own, lambda pair: _training(spec, pair, masks[pair.names]))
        train_stitches(document, entries_in(own), f"{list_name()}.json")
    elif not picked:
        st.info(
            "Nothing is picked yet. Take what a rule chooses, add stitches on **Scores** and "
            "**Stitches**, or open a list from a file.",
            icon=":material/info:",
        )
    return own


def _scored(picked: Sequence[Picked]) -> tuple[list[Picked], SelectionSpec]:
    """The picks whose scores are computed, and the selection that gives their scores and buckets.

    That is the selection of **Stitches**, but with Γ where its own score is not computed. The
    page says which.
    """
    scored = [(pair, mask) for pair, mask in picked if pair.is_scored("kl")]
    if len(scored) < len(picked):
        names = plain(", ".join(pair.name for pair, _ in picked if not pair.is_scored("kl")))
        st.info(
            f"The scores of {names} are not computed yet, so its stitches are left out here. The "
            "**Study** page computes them.",
            icon=":material/info:",
        )
    metric = metric_at_hand()
    lacking = [pair.name for pair, _ in scored if not pair.is_scored(metric)]
    if lacking:
        st.info(
            f"{METHODS[metric]}, the score on **Stitches**, is not computed for "
            f"{plain(', '.join(lacking))}, so the list has Γ.",
            icon=":material/info:",
        )
        metric = "kl"
    return scored, selection().model_copy(update={"metric": metric})


def _own_list(
    document: Document, picked: Sequence[Picked], spec: SelectionSpec
) -> StitchList | None:
    """One's list in the form that is exported; None if it is empty."""
    if not picked:
        return None
    by_rule = all((choose(pair, spec).chosen == mask).all() for pair, mask in picked)
    return stitch_list(
        document,
        spec,
        pairs=[pair for pair, _ in picked],
        by_hand=None if by_rule else [mask for _, mask in picked],
        finetuned=partial(_trained, spec),
    )


def _trained(spec: SelectionSpec, pair: Pair, chosen: Bits) -> Floats | None:
    """(N,) accuracies of the list's stitches after joint training; None if that was not run."""
    training = _training(spec, pair, chosen)
    return None if training is None else training.accuracy


def _training(spec: SelectionSpec, pair: Pair, chosen: Bits) -> Training | None:
    """The joint training of the list's stitches as they are, or the race that kept them."""
    trained = training_at_hand(pair, chosen)
    if trained is not None:
        return trained
    raced = race_at_hand(pair, spec)
    return raced if raced and (np.isfinite(raced.accuracy) == chosen).all() else None


def _unknown(count: int) -> None:
    """How many stitches of the list the study lacks."""
    if count:
        st.warning(
            f"{count} stitches of the list are not in this study; they are left out here."
            if count > 1
            else "One stitch of the list is not in this study; it is left out here.",
            icon=":material/link_off:",
        )


def _compared(document: Document, shown: list[Listed]) -> None:
    """The lists as curves and figures."""
    accuracies = [stitch["accuracy"] for listed in shown for stitch in listed.stitches]
    measured = [tier for tier in TIERS if any(of[tier] is not None for of in accuracies)]
    tier = pick_tier("tuned" if "tuned" in measured else (measured or TIERS)[0])
    st.plotly_chart(
        lists_chart(document, shown, tier),
        config=figure_config(),
        alt=f"{task_named(document['task']).metric.heading} at tier {tier} of the listed stitches "
        "and of the anchors against their MACs",
    )
    if tier not in measured:
        st.info(f"Tier {tier} is not measured for any of these stitches.", icon=":material/info:")
    unit, rows = cost_unit(document), pd.DataFrame(comparison_rows(document, shown, tier))
    percent = st.column_config.NumberColumn(format="%.1f")
    costs = [f"{end} {unit.name}" for end in ("least", "most")]
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            **{f"{which} {tier} (%)": percent for which in ("mean", "best")},
            **dict.fromkeys(costs, number_column(rows[costs].to_numpy(dtype=float))),
        },
    )
    if len(shown) == 2:
        mine, theirs = shown
        sentences = list_verdict(*gain_and_saving(document, mine, theirs, tier))
        if sentences:
            st.markdown("  \n".join(sentences))
            st.caption(
                "A list's accuracy at a cost is the best of its stitches and of the anchors that "
                "cost no more."
            )


page()
