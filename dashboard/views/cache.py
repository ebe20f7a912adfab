"""The cache folder: what takes how much, whether all of it is whole, and freeing some."""

import shutil

import streamlit as st

from dashboard.controls.free_space import PAGE, free_space
from dashboard.controls.heading import heading, says_errors
from dashboard.session.resources import store, without_place
from dashboard.session.state import session
from dashboard.session.usage import store_usage
from dashboard.tables.usage import usage_by_stage, usage_by_study
from dashboard.text.markup import plain
from klas.errors import StoreError
from klas.results.formatting import size
from klas.results.health import examine, mend
from klas.results.usage import Usage


@says_errors
def page() -> None:
    """The page."""
    heading(PAGE)
    if notice := session().notices.pop(PAGE, None):
        session().health = None  # of what was there before
        st.success(notice, icon=":material/check_circle:")
    try:
        usage = store_usage()
    except StoreError as error:  # the index, which the results can make again
        st.error(plain(without_place(str(error))), icon=":material/error:")
        _repair()
        return

    _facts(usage)
    if not usage.bytes:
        st.info("Nothing is stored yet.", icon=":material/info:")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.subheader("By stage", anchor=False)
        usage_by_stage(usage)
    with right:
        st.subheader("By study", anchor=False)
        usage_by_study(usage)
    left, right = st.columns([3, 2], gap="large")
    with left:
        free_space(usage)
    with right:
        _verify(usage)
    with st.expander("The same from the command line"):
        st.code(
            "klas cache ls\nklas cache verify\nklas cache repair\n"
            "klas cache clear --stage STAGE\nklas cache clear --study STUDY\n"
            "klas cache clear --exports\nklas cache clear --trained",
            language="bash",
        )


def _facts(usage: Usage) -> None:
    free = shutil.disk_usage(store().root).free
    first, second, third = st.columns(3)
    first.metric("Stored", size(usage.bytes))
    second.metric("Results", f"{_count(usage):,}")
    third.metric("Free on this disk", size(free))
    st.caption(
        f"In the folder {plain(store().root.name)}. Nothing is evicted; what is here stays until "
        "it is freed."
    )


def _verify(usage: Usage) -> None:
    st.subheader("Verify", anchor=False)
    st.caption(
        f"Reads all {size(usage.bytes)} and compares each result with its checksum, as every use "
        "of a result does; and whether the index and the studies' documents are whole."
    )
    if st.button("Verify everything", icon=":material/fact_check:"):
        with st.spinner("Reading every result …"):
            session().health = examine(store())
    if (health := session().health) is None:
        return
    if not health.problem:
        st.success(
            f"All {health.results.checked:,} results are whole.", icon=":material/check_circle:"
        )
        return
    st.error("\n\n".join(map(plain, health.sentences())), icon=":material/error:")
    for names, kind, again in (
        (health.bad_exports, "exported", "Export"),
        (health.bad_trained, "trained", "Train"),
    ):
        if names:
            st.warning(
                f"{len(names):,} {kind} networks are damaged. {again} them again.",
                icon=":material/deployed_code_alert:",
            )
    _repair()


def _repair() -> None:
    """The button that makes the index again."""
    if store().read_only:
        return
    st.caption(
        "Repairing makes the index again from the results, and deletes what is damaged. That is "
        "computed again when it is needed."
    )
    if st.button("Repair", icon=":material/build:"):
        with st.spinner("Reading every result …"):
            lines = mend(store()).sentences()
        session().notices[PAGE] = "\n\n".join(map(plain, lines))
        st.rerun()


def _count(usage: Usage) -> int:
    return sum(count for count, _ in usage.stages.values())


page()
