"""Another list, from a file: opened, described, taken over, closed."""

import streamlit as st

from dashboard.charts.methods import STYLES
from dashboard.model.list_comparison import Listed, differences, known_entries, left_out
from dashboard.session import my_list
from dashboard.session.state import session
from dashboard.text.markup import plain
from klas.errors import FormatError
from klas.results.formats import parse
from klas.results.formatting import METHODS
from klas.results.pair import Document

STYLE = STYLES["snnet"]
MOST_MEGABYTES = 5  # a list of ten thousand stitches


def open_list_file() -> Listed | None:
    """Another list, from a file; it stays until it is closed."""
    st.subheader("Another list", anchor=False)
    upload = session().uploaded_list
    given = st.file_uploader(
        "From `klas select --out`, or a download from here",
        type="json",
        max_upload_size=MOST_MEGABYTES,
        key=f"uploader:{upload.uploader}",
    )
    # Of a larger file the browser says no more than a red mark.
    st.caption(f"JSON, up to {MOST_MEGABYTES} MB; a larger file is marked red and not read.")
    if given is not None and given.file_id != upload.file_id:
        try:
            form = parse(given.getvalue(), given.name, "klas-stitches")
        except FormatError as error:
            st.error(f"{plain(str(error))}.", icon=":material/error:")
        else:
            upload.name, upload.form, upload.file_id = given.name, form, given.file_id
    if upload.form is None:
        return None
    return Listed(upload.name, upload.form, STYLE.colour, STYLE.symbol)


def _close_file() -> None:
    upload = session().uploaded_list
    upload.form = None
    upload.uploader += 1  # another uploader, an empty one


def other_list(document: Document, other: Listed) -> None:
    """What the other list is, and whether its figures are this study's."""
    rule = other.form["selection"]
    # The form allows any name: a newer klas may know more methods.
    method = METHODS.get(rule["metric"]) or plain(rule["metric"]) or "an unnamed method"
    made = "edited by hand" if rule.get("edited") else f"by {method}"
    st.markdown(f"**{plain(other.name)}**: {len(other.stitches)} stitches, {made}.")
    if not other.stitches:
        st.info("The list in this file is empty.", icon=":material/info:")
    unlike = differences(document, other.form)
    if unlike:
        st.warning(f"It has {plain('; '.join(unlike))}.", icon=":material/difference:")
    known = known_entries(document, other.form)
    new = set(known) - set(my_list.entries())
    with st.container(horizontal=True):
        if other.stitches:
            st.button(
                _add_label(len(known), any_new=bool(new)),
                icon=":material/playlist_add:",
                disabled=not new,
                on_click=my_list.add,
                args=(known,),
            )
        st.button("Close the file", icon=":material/close:", on_click=_close_file)
    omitted = left_out(document, other.form)
    if omitted:
        st.caption(f"Of its {len(other.stitches)} stitches, {'; '.join(omitted)}.")


def _add_label(known: int, *, any_new: bool) -> str:
    """What the button that takes over a list says."""
    if not known:
        return "None of its stitches is known"
    stitches = f"{known} stitch{'es' * (known > 1)}"
    return f"Add its {stitches} to mine" if any_new else f"Its {stitches} are in mine"
