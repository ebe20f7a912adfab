"""What can be done with a study: open, rename, duplicate, free, delete, take it elsewhere."""

import shlex
from collections.abc import Callable

import streamlit as st

from dashboard.controls.heading import open_study
from dashboard.controls.studies_table import identity
from dashboard.session.resources import store, without_place
from dashboard.session.state import session
from dashboard.session.usage import study_files
from dashboard.text.markup import plain
from dashboard.text.study_titles import counted
from klas.errors import KlasError
from klas.jobs import listing
from klas.results.formatting import size
from klas.results.freeing import delete_study, free_study
from klas.results.usage import Known, StudyUsage
from klas.storage.saved_studies import duplicate_study, rename_study, save_study
from klas.study import Study

PAGE = "Studies"


def study_actions(study_usage: StudyUsage, title: str) -> None:
    """What the store holds of a study, and the buttons for what can be done with it."""
    known, study = study_usage.known, study_usage.known.study
    at_hand = known.origin != "results" and known.name == session().study_name
    st.subheader(plain(title), anchor=False)
    if study is None:
        st.error(plain(known.problem), icon=":material/error:")
        if known.origin == "saved":
            _delete(study_usage)
        return
    anchors = ", ".join(a.name for a in study.anchors)
    st.caption(f"{len(study.anchors)} anchors ({plain(anchors)}) on {plain(study.data.train)}.")
    st.markdown(_facts(study_usage))
    with st.container(horizontal=True):
        if known.origin == "results":
            _save(known, study)
        elif st.button("Open", icon=":material/folder_open:", type="primary", key="open"):
            open_study(known.name)
            st.switch_page("views/study.py")
        if known.origin == "saved":
            _rename(known, at_hand)
        _duplicate(known, study)
        _free(study_usage, study)
        if known.origin == "saved":
            _delete(study_usage)
    if known.origin in ("built-in", "saved") and study_usage.done:
        _pack(known)


def _pack(known: Known) -> None:
    with st.expander("Take it to another machine"):
        file = f"{known.name.replace(' ', '-')}.klas"
        st.markdown(
            "The first command, here, packs the study and all its results into one file; the "
            "second one, there, unpacks it:"
        )
        commands = (
            ["klas", "cache", "pack", known.name, "--out", file],
            ["klas", "cache", "unpack", file],
        )
        st.code("\n".join(shlex.join(c) for c in commands), language="bash")


def _try(act: Callable[[], str]) -> None:
    """Do something, and say on the changed page what came of it, or here why it can't be done."""
    try:
        notice = act()
    except KlasError as error:
        st.error(plain(without_place(str(error))), icon=":material/error:")
    else:
        session().notices[PAGE] = notice
        st.rerun()


def _rename(known: Known, at_hand: bool) -> None:
    with st.popover("Rename", icon=":material/edit:", key=f"rename:{identity(known)}"):
        new = st.text_input("New name", value=known.name, key=f"renamed:{identity(known)}")

        def rename() -> str:
            renamed = rename_study(store(), known.name, new.strip())
            if at_hand:
                open_study(renamed.name)
            return f"{known.name} is named {renamed.name} now. Its results stay."

        if st.button("Rename it", type="primary", disabled=new.strip() == known.name):
            _try(rename)


def _duplicate(known: Known, study: Study) -> None:
    with st.popover(
        "Duplicate", icon=":material/content_copy:", key=f"duplicate:{identity(known)}"
    ):
        new = st.text_input(
            "Name of the copy", value=f"{study.name} 2", key=f"copied:{identity(known)}"
        )

        def duplicate() -> str:
            copy = duplicate_study(store(), study, new.strip())
            return f"{copy.name} is a copy of {known.name}. They share all results so far."

        if st.button("Save the copy", type="primary"):
            _try(duplicate)


def _what_stays(study_usage: StudyUsage) -> str:
    if not study_usage.shared_with:
        return ""
    shared = size(study_usage.bytes - study_usage.freeable)
    return f" What it shares with {plain(counted(study_usage.shared_with))} stays ({shared})."


def _free(study_usage: StudyUsage, study: Study) -> None:
    known = study_usage.known
    with st.popover(
        "Free its results",
        icon=":material/mop:",
        key=f"free:{identity(known)}",
        disabled=not study_usage.results,
    ):
        st.markdown(
            f"This frees **{size(study_usage.freeable)}**: results that no other study uses."
            f"{_what_stays(study_usage)} A new run computes them again."
        )

        def free() -> str:
            at_work = listing.studies_at_work(store())
            return f"Freed {size(free_study(store(), study, study_files(), at_work=at_work))}."

        label = f"Free {size(study_usage.freeable)}"
        if st.button(label, type="primary", disabled=not study_usage.freeable, key="free"):
            _try(free)


def _delete(study_usage: StudyUsage) -> None:
    known = study_usage.known
    with st.popover("Delete", icon=":material/delete:", key=f"delete:{identity(known)}"):
        st.markdown(f"This deletes the study **{plain(known.name)}**; there is no way back.")
        with_results = False
        if study_usage.results:
            with_results = st.checkbox(
                f"Free its results too: {size(study_usage.freeable)}",
                value=True,
                key=f"too:{identity(known)}",
            )
            st.caption(_what_stays(study_usage).strip() or "No other study uses any of them.")

        def delete() -> str:
            freed = delete_study(
                store(),
                known.name,
                known.study,
                study_files(),
                at_work=listing.studies_at_work(store()),
                with_results=with_results,
            )
            return f"{known.name} is deleted; {size(freed)} freed."

        if st.button("Delete it", type="primary", key="delete"):
            _try(delete)


def _save(known: Known, study: Study) -> None:
    def save() -> str:
        save_study(store(), study)
        open_study(study.name)
        return f"{study.name} is saved here."

    if st.button(
        "Save it here",
        icon=":material/save:",
        type="primary",
        key="keep",
        help=f"It was run from a file elsewhere. Saved under its name, {plain(known.name)}, it "
        "can be opened here.",
    ):
        _try(save)


def _facts(study_usage: StudyUsage) -> str:
    largest = sorted(study_usage.stages.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{stage} {size(count)}" for stage, count in largest)
    if not study_usage.results:
        return "None of it is computed yet."
    whole = f"{study_usage.results:,} results, {size(study_usage.bytes)}: {parts}."
    return whole + _what_stays(study_usage)
