"""How figures behave on the page: what their camera saves, and nothing that distracts."""

from typing import Any, Literal, get_args

import streamlit as st

from dashboard.session.choices import bound, remembered

Kind = Literal["png", "svg"]


def config() -> dict[str, Any]:
    """Plotly's settings for a figure: its one button saves it as a picture."""
    return {
        "displaylogo": False,
        "showTips": False,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": _kind(), "scale": 2, "filename": "klas"},
    }


def pick_kind() -> None:
    """A selector of what the camera saves, for all figures."""
    st.segmented_control(
        "The camera on every figure saves",
        get_args(Kind),
        format_func=str.upper,
        required=True,
        help="It appears at a figure's upper right under the mouse.",
        **bound("picture", _kind()),
    )


def _kind() -> Kind:
    kind: Kind = remembered("picture", "png")
    return kind
