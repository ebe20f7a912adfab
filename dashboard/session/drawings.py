"""Which stitch is open, between two charts that ring it.

A click moves the ring in the browser alone, and a chart whose figure changes is loaded anew. So
what a chart was drawn with is kept, and it is drawn again only where it has to look different.
"""

import hashlib

import streamlit as st

from dashboard.session.choices import keep
from dashboard.session.state import MapDrawing, TradeoffDrawing, choices, session
from klas.selection.space import Place


def map_drawing(name: str) -> tuple[str, Place | None]:
    """The map's key and the stitch that it is drawn with.

    It is a new drawing where the browser's has another cell ringed than the one that is open.

    Args:
        name: what the map shows.
    """
    number, drawn_with, ringed = session().map
    cell = choices().get("cell")
    if ringed != cell or f"{name}:{number}" not in st.session_state:
        number, drawn_with = number + 1, cell
        session().map = MapDrawing(number, drawn_with, cell)
    return f"{name}:{number}", drawn_with


def open_clicked_cell(key: str) -> None:
    """Follow a click on the map.

    A second one on the same cell, or one beside the stitches, closes it.
    """
    cell = _clicked(key)
    session().map = session().map._replace(ringed=cell)
    keep("cell", cell)


def tradeoff_drawing(appearance: str) -> tuple[str, Place | None]:
    """The key of the chart of accuracy against cost, and the stitch that it is drawn with.

    It is a new drawing where it looks different; then the open stitch has its ring.

    Args:
        appearance: all that it depends on but the ring.
    """
    drawing = session().tradeoff
    if drawing is None or drawing.appearance != appearance:
        drawing = session().tradeoff = TradeoffDrawing(appearance, choices().get("cell"))
    digest = hashlib.sha256(f"{appearance}:{drawing.ringed}".encode()).hexdigest()
    return f"tradeoff:{digest[:16]}", drawing.ringed


def open_clicked_stitch(key: str) -> None:
    """Follow a click on a curve's stitch; one on an anchor or beside them changes nothing."""
    if (stitch := _clicked(key)) is not None:
        keep("cell", stitch)


def close_stitch() -> None:
    """Open none; the chart of accuracy against cost, which may have a ring, is drawn again."""
    session().tradeoff = None
    keep("cell", None)


def _clicked(key: str) -> Place | None:
    """The stitch of the point that was clicked last, which carries i and j before all else.

    None for a point that carries nothing, or for no point.
    """
    points = st.session_state[key]["selection"]["points"]
    carried = points[-1].get("customdata") if points else None
    return (carried[0], carried[1]) if carried else None
