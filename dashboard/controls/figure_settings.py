"""How figures behave on the page: what their camera saves, and nothing that distracts."""

from typing import Any, get_args

import streamlit as st

from dashboard.session.choices import bound
from dashboard.session.state import PictureFormat, choices


def figure_config() -> dict[str, Any]:
    """Plotly's settings for a figure: its one button saves it as a picture."""
    return {
        "displaylogo": False,
        "showTips": False,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": _picture_format(), "scale": 2, "filename": "klas"},
    }


def pick_picture_format() -> None:
    """A selector of what the camera saves, for all figures."""
    st.segmented_control(
        "The camera on every figure saves",
        get_args(PictureFormat),
        format_func=str.upper,
        required=True,
        help="It appears at a figure's upper right under the mouse.",
        **bound("picture", _picture_format(), argument="default"),
    )


def _picture_format() -> PictureFormat:
    return choices().get("picture", "png")
