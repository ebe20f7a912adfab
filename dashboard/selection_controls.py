"""The controls of a selection: τ, its kind, the buckets and how they are cut."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.state import bound, forget, remember, selection
from klas.study import Metric, SelectionSpec

SLIDER, NUMBER = 340, 150  # pixels


def selection_controls(metric: Metric) -> tuple[SelectionSpec, DeltaGenerator]:
    """The selection that the controls show, and the row in which they stand: more may follow."""
    start = selection()
    row = st.container(horizontal=True, gap="medium")  # goes on in a next line where it is narrow
    if start.tau_mode == "relative":
        top, step, name = 1.0, 0.01, "τ: how far above a bucket's best score may be"
    else:
        top, step, name = 10.0, 0.05, "τ: the largest score that is always taken"
    top = max(top, start.tau)
    row.slider(name, 0.0, top, step=step, width=SLIDER, **bound("tau", start.tau, top, step))
    row.segmented_control(
        "τ is",
        ["relative", "absolute"],
        required=True,
        help="Relative to the bucket's best (the paper's practice), or an absolute score "
        "(the poster's formula).",
        **bound("tau_mode", start.tau_mode) | {"on_change": _change_mode},
    )
    row.number_input("Buckets", 1, 1000, width=NUMBER, **bound("buckets", start.buckets))
    row.segmented_control(
        "Buckets of equal", ["width", "count"], required=True, **bound("binning", start.binning)
    )
    return start.model_copy(update={"metric": metric}), row


def _change_mode() -> None:
    """A τ of one kind means nothing as the other: start again from the study's."""
    forget("tau")
    remember("tau_mode")()
