"""All studies: what is computed of each, what it takes; open, rename, duplicate, free, delete."""

import streamlit as st

from dashboard.controls.heading import heading, says_errors
from dashboard.controls.studies_table import studies_table
from dashboard.controls.study_actions import PAGE, study_actions
from dashboard.session.state import session
from dashboard.session.usage import store_usage
from dashboard.text.markup import plain


@says_errors
def page() -> None:
    """The page."""
    heading(PAGE)
    if notice := session().notices.pop(PAGE, None):
        st.success(plain(notice), icon=":material/check_circle:")
    study_usage, title = studies_table(store_usage().studies)
    with st.container(border=True):
        study_actions(study_usage, title)
    if st.button("Make a new study", icon=":material/add:", help="On the Anchors page."):
        st.switch_page("views/anchors.py")


page()
