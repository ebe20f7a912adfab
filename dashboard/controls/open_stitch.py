"""The open stitch of the trade-off, in a line below the charts."""

from collections.abc import Sequence

import streamlit as st

from dashboard.controls.downloads import list_button
from dashboard.model.tradeoff import Curve, Sheet
from dashboard.session.drawings import close_stitch
from dashboard.session.state import choices
from klas.results.costs import Costs
from klas.results.formatting import METHODS, percent
from klas.study import Tier

LINE = 56  # pixels that are kept free, so that nothing below moves


def open_stitch(sheet: Sheet, costs: Costs, tier: Tier, drawn: Sequence[Curve]) -> None:
    """The stitch that was clicked, and what can be done with it; or how to open one.

    Args:
        drawn: of ``finetuned`` each has a training of its own, with weights of its own.
    """
    pair, cell = sheet.pair, choices().get("cell")
    row = pair.everywhere.index(cell) if cell in pair.everywhere else None
    with st.container(horizontal=True, vertical_alignment="center", height=LINE, border=False):
        if row is None:
            st.caption(
                "Click a stitch on a curve to open it here. Each bar is the 95 % interval of one "
                "accuracy."
            )
            return
        i, j = pair.stitches[row]
        value = costs.stitches[row] / costs.unit.scale
        if tier == "finetuned":
            trained = [(METHODS[c.metric], c.accuracy[row]) for c in drawn if c.chosen[row]]
            of_each = [f"{percent(value)} with the choice of {name}" for name, value in trained]
            measured = ", ".join(of_each) or "not measured"
        else:
            measured = percent(sheet.accuracy[tier][row])
        st.markdown(
            f"Stitch **{i} → {j}**: {value:.4g} {costs.unit.name}, {measured} ({tier})",
            width="content",
        )
        st.page_link("views/scores.py", label="Open on Scores", icon=":material/grid_on:")
        list_button(pair, row, place="line")
        st.button("Close", key="close:cell", icon=":material/close:", on_click=close_stitch)
