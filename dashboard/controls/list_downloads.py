"""One's list and the report of the study, as files."""

import streamlit as st

from dashboard.controls.figure_settings import pick_picture_format
from dashboard.controls.heading import selection
from dashboard.report.build import study_report, unscored
from dashboard.report.page import Page, Paragraph, render
from dashboard.session.resources import store, study
from dashboard.text.markup import plain
from klas.errors import KlasError
from klas.results.documents.stitches import StitchList
from klas.results.formats import dumps
from klas.results.pair import Document
from klas.results.stitch_list import as_csv


def list_name() -> str:
    """What the file of one's list is called, without its ending."""
    return f"stitches-{study().name.replace(' ', '-')}"


def list_downloads(document: Document, own: StitchList | None) -> None:
    """The list as a file, the report of the study, and how pictures are saved."""
    # Asked for here: the report is made outside any run of the page.
    at_hand, spec, results = study(), selection(), store()

    def report() -> bytes:
        try:
            return study_report(document, at_hand, spec, own, results)
        except KlasError as error:
            why = Paragraph(text=f"The report could not be made: {error}.")
            return render(Page(title=at_hand.name, lead=[why]))

    st.subheader("Download", anchor=False)
    with st.container(horizontal=True):
        if own is not None:
            name = list_name()
            st.download_button(
                "List as JSON",
                dumps(own),
                file_name=f"{name}.json",
                mime="application/json",
                icon=":material/download:",
                help="`klas check` rebuilds it, `klas.load_stitch` loads one of its networks.",
                on_click="ignore",
            )
            st.download_button(
                "List as CSV",
                as_csv(own),
                file_name=f"{name}.csv",
                mime="text/csv",
                icon=":material/table:",
                on_click="ignore",
            )
        st.download_button(
            "Report of the study as HTML",
            report,
            file_name=f"klas-{at_hand.name.replace(' ', '-')}.html",
            mime="text/html",
            icon=":material/description:",
            help="One file with the anchors, every pair, the comparison of the methods and this "
            "list, to open without this app.",
            on_click="ignore",
        )
    missing = unscored(document)
    if missing:
        st.caption(f"The report leaves out {plain(', '.join(missing))}: not scored yet.")
    pick_picture_format()
