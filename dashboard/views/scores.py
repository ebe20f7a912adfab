"""A map of every stitch of a pair; a click on a cell opens that stitch beside it."""

import streamlit as st

from dashboard.controls.heading import (
    heading,
    pick_metric,
    pick_pair,
    says_errors,
    scored_document,
    selection,
)
from dashboard.controls.job_panel import job_panel
from dashboard.controls.stitch_card import stitch_card
from dashboard.controls.stitch_map import not_computed, pick_shown, pick_stitch, stitch_map
from dashboard.session.resources import store, study
from dashboard.tables.best_stitches import best_stitches
from dashboard.text.quantities import THE_SCORE, quantity
from klas.results.accuracies import finetuned_accuracy
from klas.results.pair import Document, Pair
from klas.results.selections import choose

STYLE = """<style>
/* One below the other where there is no room to read them side by side. */
.st-key-choices > * > .stHorizontalBlock > .stColumn {min-width: 9rem}
.st-key-map-and-stitch > * > .stHorizontalBlock > .stColumn {min-width: 25rem}
</style>"""


@says_errors
def page() -> None:
    """The page."""
    heading("Stitch scores")
    document = scored_document()
    job_panel(study().name)
    st.html(STYLE)
    _scores(document)


@st.fragment
@says_errors
def _scores(document: Document) -> None:
    """All that a choice on this page draws again."""
    columns = st.container(key="choices").columns([5, 2, 3, 2], gap="medium")
    with columns[0]:
        pair = pick_pair(document)
    assert pair is not None, "this page has no choice of all pairs"
    with columns[1]:
        metric = pick_metric()

    spec = selection().model_copy(update={"metric": metric})
    picked = choose(pair, spec) if pair.is_scored(metric) else None
    trained = None
    if picked is not None:
        trained = finetuned_accuracy(store(), pair, picked.chosen, study())

    with columns[2]:
        shown = pick_shown(pair, trained=trained is not None)
    with columns[3]:
        row = pick_stitch(pair)
    name = metric if shown == THE_SCORE else shown
    if picked is None:
        not_computed(pair, metric, "scores")
        return

    left, right = st.container(key="map-and-stitch").columns([3, 2], gap="large")
    with left:
        stitch_map(pair, spec, picked, name, trained if name == "finetuned" else None)
    with right:
        if row is not None:
            stitch_card(pair, spec, picked, row, trained)
        else:
            _how_to_read(pair, name)
        if pair.in_space.any():
            st.subheader("Best of the pair")
            best_stitches(pair, metric)


def _how_to_read(pair: Pair, name: str) -> None:
    st.subheader("How to read it")
    if name != "kl":
        st.markdown(quantity(name, pair).explanation)
        return
    st.latex(
        r"\Gamma(i,j)=\frac{\Omega}{\Sigma}="
        r"\frac{\Theta(P_i^f,\,P_j^g)}{\Theta(P_j^g,\,P_{j+1}^g)}"
    )
    st.markdown(
        "- **Ω** is the distance across the stitch: how far the source's probe after block "
        "*i* is from the target's after block *j*, in nats.\n"
        "- **Σ** is the capacity of the block that follows: how much the target's next block "
        "changes its own probe.\n"
        "- **Θ(P, Q) = mean KL(P ‖ Q)** over the validation samples: how many nats apart the "
        "predictions of two probes are.\n"
        "- A stitch is promising where the next block can make up for the distance."
    )


page()
