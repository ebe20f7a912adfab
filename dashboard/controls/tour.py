"""The tour of the app on the built-in study: where it begins, and what comes next on a page."""

from typing import NamedTuple

import streamlit as st

from dashboard.session.state import session


class Stop(NamedTuple):
    """A page of the tour: its file, its heading, its name, and what to do there."""

    file: str
    heading: str
    name: str
    task: str


STOPS = (
    Stop(
        "views/scores.py",
        "Stitch scores",
        "Scores",
        "Γ of every stitch of a pair. Click a bright cell to open it.",
    ),
    Stop(
        "views/stitches.py",
        "Choose stitches",
        "Stitches",
        "Drag τ and watch the choice and its curve follow.",
    ),
    Stop(
        "views/compare.py",
        "Compare methods",
        "Compare",
        "KLAS against CKA, MSE, CE, DM and SN-Net, with intervals.",
    ),
    Stop(
        "views/my_list.py",
        "My list",
        "My list",
        "Keep what a rule chose, edit it, download it as JSON.",
    ),
    Stop(
        "views/anchors.py",
        "Anchors",
        "Anchors",
        "Then do the same with your own networks and images.",
    ),
)


def offer_tour() -> None:
    """Every stop, for somebody who sees the app for the first time; a button hides it."""
    if session().tour == "over":
        return
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute"):
            st.markdown("**A tour of the app, on the built-in study**")
            st.button("Hide", on_click=_end, icon=":material/close:", type="tertiary")
        for column, stop in zip(st.columns(len(STOPS)), STOPS):
            with column:
                _way_to(stop, stop.name)
                st.caption(stop.task)


def lead_on(heading: str) -> None:
    """On a stop of a tour that has begun: what to do there, and the way to the next one."""
    here = next((k for k, stop in enumerate(STOPS) if stop.heading == heading), None)
    if here is None or session().tour != "begun":
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{here + 1} of {len(STOPS)}.** {STOPS[here].task}", width="content")
        if here + 1 < len(STOPS):
            _way_to(STOPS[here + 1], f"Next: {STOPS[here + 1].name}")
        st.button("End the tour", on_click=_end, icon=":material/close:", type="tertiary")


def _way_to(stop: Stop, label: str) -> None:
    if st.button(label, icon=":material/arrow_forward:", type="tertiary", key=f"tour:{stop.file}"):
        session().tour = "begun"
        st.switch_page(stop.file)


def _end() -> None:
    session().tour = "over"
