"""The cache folder: what takes how much, whether all of it is whole, and freeing some."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pandas as pd
import streamlit as st

from dashboard.controls.heading import heading, says_errors
from dashboard.session.resources import store
from dashboard.session.state import session
from dashboard.session.usage import held, study_files
from dashboard.text.job_titles import STAGE_ACTIVITY
from dashboard.text.markdown import plain
from dashboard.text.study_titles import titles
from klas.errors import KlasError
from klas.jobs import listing
from klas.results.formatting import size
from klas.results.freeing import free_everything, free_stage, free_study, free_unclaimed
from klas.results.usage import Usage


class _Free(Protocol):
    def __call__(self, *, at_work: Collection[str | None]) -> int: ...


@dataclass(frozen=True, kw_only=True)
class _Offer:
    """Something that can be freed: what to call it, the bytes it takes, what that means."""

    name: str
    bytes: int
    means: str
    free: _Free


def _share(total: int) -> Any:
    return st.column_config.ProgressColumn(
        format="%.1f", min_value=0.0, max_value=max(total / 1e6, 1e-6)
    )


def _by_stage(found: Usage) -> None:
    st.subheader("By stage", anchor=False)
    rows = [
        {
            "stage": stage,
            "what": STAGE_ACTIVITY.get(stage, ""),
            "results": count,
            "size (MB)": taken / 1e6,
        }
        for stage, (count, taken) in sorted(found.stages.items(), key=lambda s: -s[1][1])
    ]  # fmt: skip
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={"size (MB)": _share(found.bytes), "what": st.column_config.TextColumn()},
    )


def _by_study(found: Usage) -> None:
    st.subheader("By study", anchor=False)
    rows = [
        {"study": title, "results": h.results, "size (MB)": h.bytes / 1e6,
         "only its own (MB)": h.freeable / 1e6}
        for h, title in sorted(
            zip(found.studies, titles(found.studies)), key=lambda row: -row[0].bytes
        )
        if h.results
    ]  # fmt: skip
    if rows:
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            column_config={
                "size (MB)": _share(found.bytes),
                "only its own (MB)": st.column_config.NumberColumn(format="%.1f"),
            },
        )
    said = "What several studies use counts with each of them." if len(rows) > 1 else ""
    if found.unclaimed:
        said += f" {size(found.unclaimed)} are of no known study."
    st.caption(said.strip())


def _offers(found: Usage) -> list[_Offer]:
    offers = [
        _Offer(
            name="Results of no known study",
            bytes=found.unclaimed,
            means="They were left by studies that were deleted or changed, or by a run that was "
            "stopped before its first stage was done. Not while `klas run` works in a terminal: "
            "what it has just made is nobody's yet.",
            free=partial(free_unclaimed, store(), study_files()),
        )
    ]
    offers += [
        _Offer(
            name=f"Study {title}: what no other study uses",
            bytes=h.freeable,
            means="Running the study again computes them anew.",
            free=partial(free_study, store(), h.known.study, study_files()),
        )
        for h, title in zip(found.studies, titles(found.studies))
        if h.known.study is not None
    ]
    offers += [
        _Offer(
            name=f"Stage {stage}, of all studies",
            bytes=taken,
            means=_stage_means(stage),
            free=partial(free_stage, store(), stage),
        )
        for stage, (_, taken) in found.stages.items()
    ]
    offers.append(
        _Offer(
            name="Everything",
            bytes=found.bytes,
            means="Every study starts anew. The studies themselves stay.",
            free=partial(free_everything, store()),
        )
    )
    return [offer for offer in offers if offer.bytes]


def _stage_means(stage: str) -> str:
    if stage == "features":
        return (
            "Finished studies can still be looked at: only their next run reads these again, and "
            "makes them anew."
        )
    if stage == "catalogue":
        return "The **Anchors** page needs it; building it anew takes minutes."
    return "The next run of any study that uses them computes them anew."


def _free(found: Usage) -> None:
    st.subheader("Free", anchor=False)
    offers = _offers(found)
    names = [offer.name for offer in offers]
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    name = left.selectbox("What", names, key="cache:what")
    offer = offers[names.index(name)]
    with right.popover(
        f"Free {size(offer.bytes)}",
        icon=":material/mop:",
        width="stretch",
        key=f"free:{name}:{offer.bytes}",
    ):
        st.markdown(f"**{plain(offer.name)}**: {size(offer.bytes)} are deleted. {offer.means}")
        if st.button(f"Yes, free {size(offer.bytes)}", type="primary", key="cache:free"):
            try:
                freed = offer.free(at_work=listing.studies_at_work(store()))
            except KlasError as error:
                st.error(plain(str(error)), icon=":material/error:")
            else:
                session().notices["Cache"] = f"Freed {size(freed)}."
                st.rerun()
    st.caption(offer.means)


def _verify(found: Usage) -> None:
    st.subheader("Verify", anchor=False)
    st.caption(
        f"Reads all {size(found.bytes)} and compares each result with its checksum, as every use "
        "does with what it reads."
    )
    if not st.button("Verify everything", icon=":material/fact_check:"):
        return
    with st.spinner("Reading every result …"):
        bad = store().verify()
    count = sum(number for number, _ in found.stages.values())
    if not bad:
        st.success(f"All {count:,} results are whole.", icon=":material/check_circle:")
        return
    st.error(
        f"{len(bad):,} of {count:,} results are damaged or missing. They are dropped and made "
        "again when next needed.",
        icon=":material/error:",
    )
    rows = [{"stage": e.stage, "result": e.label or e.digest[:12], "digest": e.digest[:12]}
            for e in bad]  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True)


def _facts(found: Usage) -> None:
    count = sum(number for number, _ in found.stages.values())
    free = shutil.disk_usage(store().root).free
    first, second, third = st.columns(3)
    first.metric("Stored", size(found.bytes))
    second.metric("Results", f"{count:,}")
    third.metric("Free on this disk", size(free))
    st.caption(
        f"In {plain(str(store().root))}. Nothing is evicted; what is here stays until freed."
    )


@says_errors
def page() -> None:
    """The page."""
    heading("Cache")
    if said := session().notices.pop("Cache", None):
        st.success(said, icon=":material/check_circle:")
    found = held()
    _facts(found)
    if not found.bytes:
        st.info("Nothing is stored yet.", icon=":material/info:")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        _by_stage(found)
    with right:
        _by_study(found)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _free(found)
    with right:
        _verify(found)
    with st.expander("The same from the command line"):
        st.code(
            "klas cache ls\nklas cache verify\nklas cache clear --stage STAGE\n"
            "klas cache clear --study STUDY",
            language="bash",
        )


page()
