"""Search timm's pretrained networks, pick anchors, name the images: a study without TOML."""

import streamlit as st

from dashboard.controls.anchor_picks import add_checkpoint, anchor_picks
from dashboard.controls.heading import heading, says_errors
from dashboard.controls.job_panel import job_panel
from dashboard.controls.network_search import build_catalogue, networks_table, search
from dashboard.controls.study_form import study_form
from dashboard.session.resources import catalogue


@says_errors
def page() -> None:
    """The page."""
    heading("Anchors")
    st.markdown("Pick pretrained networks, name your images, and stitch what lies between them.")
    networks = catalogue()
    if networks is None:
        build_catalogue()
        job_panel(None)
        return
    left, right = st.columns([5, 3], gap="large")
    with left:
        networks_table(search(networks), len(networks))
    with right:
        anchor_picks(networks)
        add_checkpoint(networks)
        study_form()


page()
