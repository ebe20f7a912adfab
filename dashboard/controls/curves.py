"""Which methods' curves are drawn beside the chosen score's, and what is missing of them."""

from collections.abc import Collection, Sequence

import streamlit as st

from dashboard.charts.methods import AT_FIRST
from dashboard.controls.jobs import estimate, start_button
from dashboard.session.choices import bound, keep
from dashboard.session.resources import study
from dashboard.session.state import choices
from klas.jobs.kinds import FinetuneJob
from klas.results.formatting import METHODS
from klas.results.notes import why_no_cka
from klas.results.pair import Pair
from klas.study import METRICS, SETS, Metric, SelectionSpec, Tier


def pick_curves(own: Metric) -> tuple[Metric, ...]:
    """The methods whose curves stand beside the chosen score's."""
    others = [metric for metric in METRICS if metric != own]
    wanted = [m for m in choices().get("curves", _at_first()) if m != own]

    def change(named: Sequence[Metric]) -> None:
        keep("curves", tuple(metric for metric in METRICS if metric in named))

    st.pills(
        "Curves beside it",
        others,
        selection_mode="multi",
        format_func=METHODS.__getitem__,
        label_visibility="collapsed",
        **bound("curves", wanted, own, argument="default", change=change),
    )
    return tuple(wanted)


def _at_first() -> tuple[Metric, ...]:
    """Also the study's own method where that is no score, which then can't be chosen above."""
    own = study().selection.metric
    return (*AT_FIRST, own) if own in SETS and own not in AT_FIRST else AT_FIRST


def rival_of(own: Metric) -> Metric:
    """The method that a score is compared with in a sentence."""
    rival = choices().get("rival", "snnet")
    return rival if rival != own else "snnet"


def pick_rival(own: Metric, rival: Metric) -> None:
    """A selector of that method."""
    st.selectbox(
        f"{METHODS[own]} compared with",
        format_func=METHODS.__getitem__,
        help="A rival takes in every bucket as many stitches as the chosen score took. SN-Net's "
        "set is compared as it is, and of a race what it kept. Intervals by bootstrap are on the "
        "**Compare** page.",
        **bound("rival", rival, options=[metric for metric in METRICS if metric != own]),
    )


def missing_curves(
    pair: Pair,
    spec: SelectionSpec,
    tier: Tier,
    unscored: Sequence[Metric],
    unmeasured: Sequence[Metric],
    wanted: Collection[Metric],
) -> None:
    """What is not drawn, for want of its score or of its accuracies, and how to get them."""
    if "race" in wanted and tier != "finetuned":
        st.info(
            "A race is decided by joint training, so its curve is drawn at tier finetuned alone.",
            icon=":material/info:",
        )
    names = ", ".join(METHODS[metric] for metric in unmeasured)
    if unscored:
        reason = why_no_cka(pair.document) if list(unscored) == ["cka"] else None
        advice = f"{reason}." if reason else "Run the stage **scores** on the **Study** page."
        st.info(
            f"Score not computed, so not drawn: {', '.join(METHODS[m] for m in unscored)}. "
            f"{advice}",
            icon=":material/info:",
        )
    if unmeasured and tier != "finetuned":
        st.info(
            f"Not measured at tier {tier}, so not drawn: {names}. Run the stage **{tier}** on the "
            "**Study** page.",
            icon=":material/info:",
        )
    if not unmeasured or tier != "finetuned":
        return
    each = f"{study().finetuning.steps:,} steps" + (" each" if len(unmeasured) > 1 else "")
    st.info(
        f"Not trained jointly yet, so not drawn: {names}. It takes {each}. The **Compare** page "
        "trains every method, at several budgets of steps.",
        icon=":material/info:",
    )
    chosen_so = study().model_copy(update={"selection": spec})
    job = FinetuneJob(pair=pair.names, metrics=tuple(unmeasured))
    with st.container(horizontal=True, vertical_alignment="center"):
        start_button("Train jointly", chosen_so, job)
        estimate(chosen_so, job)
