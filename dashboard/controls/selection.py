"""The controls of a selection: τ, its kind, the buckets and how they are cut."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.controls.heading import selection
from dashboard.session.choices import bound, forget, keep
from klas.study import Metric, SelectionSpec

SLIDER, NUMBER = 340, 150  # pixels
TAU = {
    "relative": "**τ, the tolerance: score ≤ (1 + τ) · lowest.** In every bucket the stitch with "
    "the lowest score is chosen, and with it those whose score is higher by at most τ: at 0 the "
    "best alone, at 0.05 those up to 5 % worse, at 1 those with up to twice its score.",
    "absolute": "**τ, the tolerance: score ≤ τ.** In every bucket the stitches whose score is at "
    "most τ are chosen, and in any case the one with the lowest score.",
}
"""What τ does, by its kind: Markdown."""
BUCKETS = (
    "**Bucket b of B: low + b · w ≤ MACs < low + (b + 1) · w, with w = (high − low) / B.** The "
    "MACs between the cheap anchor's (low) and the costly one's (high) are cut into B buckets, and "
    "the score chooses in each by itself, so that there are networks of every cost. More buckets "
    "choose more stitches. What lies outside is not chosen."
)
BINNING = (
    "width: every bucket is equally wide in MACs, (high − low) / B. count: the bounds are the "
    "quantiles 0, 1/B, …, 1 of the stitches' MACs, so that every bucket holds about as many "
    "stitches."
)


def selection_controls(metric: Metric) -> tuple[SelectionSpec, DeltaGenerator]:
    """The selection that the controls show, and the row in which they stand: more may follow."""
    start = selection()
    row = st.container(horizontal=True, gap="medium")  # goes on in a next line where it is narrow
    if start.tau_mode == "relative":
        top, step, name = 1.0, 0.01, "τ: how far above the bucket's best"
    else:
        top, step, name = 10.0, 0.05, "τ: the largest score that is always taken"
    top = max(top, start.tau)
    row.slider(
        name,
        0.0,
        top,
        step=step,
        width=SLIDER,
        help=TAU[start.tau_mode],
        **bound("tau", start.tau, top, step),
    )
    row.segmented_control(
        "τ is",
        ["relative", "absolute"],
        required=True,
        help="relative: τ is a share of the bucket's lowest score, score ≤ (1 + τ) · lowest (the "
        "paper's practice). absolute: τ is a score, score ≤ τ or the lowest of the bucket (the "
        "poster's formula).",
        **bound("tau_mode", start.tau_mode, argument="default", change=_change_mode),
    )
    row.number_input(
        "Buckets", 1, 1000, width=NUMBER, help=BUCKETS, **bound("buckets", start.buckets)
    )
    row.segmented_control(
        "Buckets of equal",
        ["width", "count"],
        required=True,
        help=BINNING,
        **bound("binning", start.binning, argument="default"),
    )
    return start.model_copy(update={"metric": metric}), row


def _change_mode(mode: str) -> None:
    """A τ of one kind means nothing as the other: start again from the study's."""
    forget("tau")
    keep("tau_mode", mode)
