"""The study at hand to take with you, and the ways to go on from a copy of it."""

import streamlit as st

from dashboard.controls.heading import open_study
from dashboard.session import draft
from dashboard.session.resources import store, without_place
from klas.errors import KlasError
from klas.storage.saved_studies import duplicate_study
from klas.study import Study


def study_copy(at_hand: Study) -> None:
    """A row of buttons."""
    with st.container(horizontal=True):
        st.download_button(
            "Download as TOML",
            at_hand.to_toml(),
            file_name=f"{at_hand.name}.toml",
            mime="application/toml",
            icon=":material/download:",
            help="`klas run FILE` computes it, `klas dashboard FILE` shows it.",
            on_click="ignore",
        )
        with st.popover("Duplicate", icon=":material/content_copy:"):
            name = st.text_input("Name of the copy", value=f"{at_hand.name} 2")
            if st.button("Save the copy", type="primary"):
                try:
                    open_study(duplicate_study(store(), at_hand, name.strip()).name)
                except KlasError as error:
                    st.error(without_place(str(error)), icon=":material/error:")
                else:
                    st.rerun()
        if st.button(
            "Make another like it",
            icon=":material/edit:",
            help="Its anchors and settings, ready to be changed on the Anchors page.",
        ):
            draft.start_from(at_hand.model_dump(mode="json"))
            st.switch_page("views/anchors.py")
