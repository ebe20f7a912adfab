"""Page set-up and navigation. Start with ``streamlit run dashboard/app.py``."""

from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
VIEWS = HERE / "views"

# A picture of our own: Streamlit's named icons come from another host when they stand in the tab.
st.set_page_config(page_title="KLAS", page_icon=HERE / "icon.svg", layout="wide")
# Streamlit leaves a hand's breadth above every page; a tool needs it for the picture. And it keeps
# columns side by side down to 640 pixels, where tables and charts are long cut off.
st.html(
    """<style>
    .stMainBlockContainer {padding-top: 4rem; padding-bottom: 3rem}
    @media (max-width: 960px) {
        [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"]) {flex-wrap: wrap}
        [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {min-width: 100%}
        .st-key-facts [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {min-width: 28%}
        [data-testid="stButtonGroup"] [role] {flex-wrap: wrap}
    }
    </style>"""
)
st.navigation(
    [
        st.Page(VIEWS / "study.py", title="Study", icon=":material/science:", default=True),
        st.Page(VIEWS / "anchors.py", title="Anchors", icon=":material/hub:"),
        st.Page(VIEWS / "scores.py", title="Scores", icon=":material/grid_on:"),
        st.Page(VIEWS / "stitches.py", title="Stitches", icon=":material/show_chart:"),
        st.Page(VIEWS / "my_list.py", title="My list", icon=":material/checklist:"),
        st.Page(VIEWS / "compare.py", title="Compare", icon=":material/balance:"),
        st.Page(VIEWS / "studies.py", title="Studies", icon=":material/folder_open:"),
        st.Page(VIEWS / "cache.py", title="Cache", icon=":material/database:"),
    ],
    position="top",
).run()
