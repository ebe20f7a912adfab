"""The cache folder: what takes how much, whether all of it is whole, and freeing some."""

import shutil

import pandas as pd
import streamlit as st

from dashboard.controls.free_space import PAGE, free_space
from dashboard.controls.heading import heading, says_errors
from dashboard.session.resources import store
from dashboard.session.state import session
from dashboard.session.usage import store_usage
from dashboard.tables.usage import usage_by_stage, usage_by_study
from dashboard.text.markup import plain
from klas.results.formatting import size
from klas.results.usage import Usage
from klas.storage.exports import verify_exports
from klas.storage.trained import verify_trained


@says_errors
def page() -> None:
    """The page."""
    heading(PAGE)
    if notice := session().notices.pop(PAGE, None):
        st.success(notice, icon=":material/check_circle:")
    usage = store_usage()

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
            "klas cache ls\nklas cache verify\nklas cache clear --stage STAGE\n"
            "klas cache clear --study STUDY\nklas cache clear --exports\n"
            "klas cache clear --trained",
            language="bash",
        )


def _facts(usage: Usage) -> None:
    free = shutil.disk_usage(store().root).free
    first, second, third = st.columns(3)
    first.metric("Stored", size(usage.bytes))
    second.metric("Results", f"{_count(usage):,}")
    third.metric("Free on this disk", size(free))
    st.caption(
        f"In {plain(str(store().root))}. Nothing is evicted; what is here stays until it is freed."
    )


def _verify(usage: Usage) -> None:
    st.subheader("Verify", anchor=False)
    st.caption(
        f"Reads all {size(usage.bytes)} and compares each result with its checksum, as every use "
        "of a result does."
    )
    if not st.button("Verify everything", icon=":material/fact_check:"):
        return
    with st.spinner("Reading every result …"):
        bad, exports = store().verify(), verify_exports(store())
        trained = verify_trained(store())
    if exports:
        st.warning(
            f"{len(exports):,} exported networks were damaged, and were deleted. Export them "
            "again.",
            icon=":material/deployed_code_alert:",
        )
    if trained:
        st.warning(
            f"{len(trained):,} trained networks were damaged, and were deleted. Train them again.",
            icon=":material/deployed_code_alert:",
        )
    if not bad:
        st.success(f"All {_count(usage):,} results are whole.", icon=":material/check_circle:")
        return
    st.error(
        f"{len(bad):,} of {_count(usage):,} results are damaged or missing. They are dropped and "
        "made again when they are next needed.",
        icon=":material/error:",
    )
    rows = [
        {"stage": e.stage, "result": e.label or e.digest[:12], "digest": e.digest[:12]} for e in bad
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True)


def _count(usage: Usage) -> int:
    return sum(count for count, _ in usage.stages.values())


page()
