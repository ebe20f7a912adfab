"""All studies: what is computed of each, what it takes; open, rename, duplicate, free, delete."""

import shlex
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.controls.heading import heading, open_named, says_errors
from dashboard.session.resources import store
from dashboard.session.state import StudiesRow, session
from dashboard.session.usage import held, study_files
from dashboard.text.markdown import plain
from dashboard.text.study_titles import counted, titles
from klas.errors import KlasError
from klas.jobs import listing
from klas.results.formatting import size
from klas.results.freeing import delete_study, free_study
from klas.results.usage import Holding, Known
from klas.storage.saved_studies import duplicate_study, rename_study, save_study
from klas.study import STAGES, Study

KEPT_AS = {
    "built-in": "built in",
    "saved": "saved here",
    "file": "a file",
    "results": "its results alone",
}
TABLE_HELP = {
    "study": "Of a name that comes again, with what differs from the first of that name.",
    "kept as": "A study run from a file elsewhere is known here by its results alone.",
    "size (MB)": "All results that it uses; those that several studies share count with each.",
    "only its own (MB)": "What freeing its results gives back: no other study uses them.",
    "joint trainings": "Selections trained together with their anchors.",
}


def _identity(known: Known) -> str:
    return f"{known.origin}:{known.name}:{known.study.results_key() if known.study else ''}"


def _cell(done: tuple[int, int] | None) -> str:
    if done is None or done[0] == 0:
        return "–"
    return "✓" if done[0] == done[1] else f"{done[0]} of {done[1]}"


def _table(studies: tuple[Holding, ...]) -> tuple[Holding, str]:
    """Every study in a table.

    Returns:
        The one whose row is picked, at first the study at hand, and its title.
    """
    named = titles(studies)
    busy = listing.studies_at_work(store())
    rows = [
        {
            "study": title,
            "kept as": KEPT_AS[h.known.origin],
            **{stage: _cell(h.done.get(stage)) for stage in STAGES},
            "joint trainings": h.trainings,
            "size (MB)": h.bytes / 1e6,
            "only its own (MB)": h.freeable / 1e6,
            "last computed": None
            if h.changed is None
            else pd.Timestamp(h.changed, unit="s", tz="UTC"),
            "now": "computing …" if h.known.study and h.known.study.name in busy else "",
        }
        for h, title in zip(studies, named)
    ]
    names = [_identity(h.known) for h in studies]
    open_study = session().study_name
    at_hand = next((k for k, h in enumerate(studies) if h.known.name == open_study), 0)
    # A pick holds until another study is opened, here or by the chooser.
    marked = session().studies_row
    rows_of: dict[str | None, int] = {identity: row for row, identity in enumerate(names)}
    holds = marked is not None and marked.open_study == open_study
    shown = rows_of.get(marked.identity, at_hand) if marked and holds else at_hand
    key = f"studies:{hash((*names, at_hand))}"

    def pick() -> None:
        chosen = st.session_state[key]["selection"]["rows"]
        identity = names[chosen[0]] if chosen else None
        session().studies_row = StudiesRow(open_study, identity)

    table = pd.DataFrame(rows)
    table["last computed"] = pd.to_datetime(table["last computed"], utc=True)
    if not any(table["now"]):
        del table["now"]
    columns: dict[str, Any] = {
        "study": st.column_config.TextColumn(width="medium", help=TABLE_HELP["study"]),
        "kept as": st.column_config.TextColumn(help=TABLE_HELP["kept as"]),
        **{
            stage: st.column_config.TextColumn(width="small", alignment="center")
            for stage in STAGES
        },
        "joint trainings": st.column_config.NumberColumn(help=TABLE_HELP["joint trainings"]),
        **{
            name: st.column_config.NumberColumn(format="%.1f", help=TABLE_HELP[name])
            for name in ("size (MB)", "only its own (MB)")
        },
        "last computed": st.column_config.DatetimeColumn(format="distance"),
    }
    st.dataframe(
        table,
        hide_index=True,
        key=key,
        on_select=pick,
        selection_mode="single-row",
        placeholder="–",
        selection_default={"selection": {"rows": [shown]}},
        column_config=columns,
    )
    return studies[shown], named[shown]


def _done(said: str) -> None:
    """Say it on the page as it is after the change."""
    session().notices["Studies"] = said
    st.rerun()


def _try(act: Callable[[], str]) -> None:
    """Do something, and say what came of it or why it can't be done."""
    try:
        said = act()
    except KlasError as error:
        st.error(plain(str(error)), icon=":material/error:")
    else:
        _done(said)


def _rename(known: Known, at_hand: bool) -> None:
    with st.popover("Rename", icon=":material/edit:", key=f"rename:{_identity(known)}"):
        new = st.text_input("New name", value=known.name, key=f"renamed:{_identity(known)}")

        def rename() -> str:
            renamed = rename_study(store(), known.name, new.strip())
            if at_hand:
                open_named(renamed.name)
            return f"{known.name} is named {renamed.name} now. Its results stay."

        if st.button("Rename it", type="primary", disabled=new.strip() == known.name):
            _try(rename)


def _duplicate(known: Known, study: Study) -> None:
    with st.popover(
        "Duplicate", icon=":material/content_copy:", key=f"duplicate:{_identity(known)}"
    ):
        new = st.text_input(
            "Name of the copy", value=f"{study.name} 2", key=f"copied:{_identity(known)}"
        )

        def duplicate() -> str:
            copy = duplicate_study(store(), study, new.strip())
            return f"{copy.name} is a copy of {known.name}. They share all results so far."

        if st.button("Save the copy", type="primary"):
            _try(duplicate)


def _what_stays(holding: Holding) -> str:
    if not holding.shared_with:
        return ""
    shared = size(holding.bytes - holding.freeable)
    return f" What it shares with {plain(counted(holding.shared_with))} stays ({shared})."


def _free(holding: Holding, study: Study) -> None:
    known = holding.known
    with st.popover(
        "Free its results",
        icon=":material/mop:",
        key=f"free:{_identity(known)}",
        disabled=not holding.results,
    ):
        st.markdown(
            f"This frees **{size(holding.freeable)}**: results that no other study uses."
            f"{_what_stays(holding)} Running the study again computes them anew."
        )

        def free() -> str:
            at_work = listing.studies_at_work(store())
            return f"Freed {size(free_study(store(), study, study_files(), at_work=at_work))}."

        label = f"Free {size(holding.freeable)}"
        if st.button(label, type="primary", disabled=not holding.freeable, key="free"):
            _try(free)


def _delete(holding: Holding) -> None:
    known = holding.known
    with st.popover("Delete", icon=":material/delete:", key=f"delete:{_identity(known)}"):
        st.markdown(f"This deletes the study **{plain(known.name)}**; there is no way back.")
        too = False
        if holding.results:
            too = st.checkbox(
                f"Free its results too: {size(holding.freeable)}",
                value=True,
                key=f"too:{_identity(known)}",
            )
            st.caption(_what_stays(holding).strip() or "No other study uses any of them.")

        def delete() -> str:
            freed = delete_study(
                store(),
                known.name,
                known.study,
                study_files(),
                at_work=listing.studies_at_work(store()),
                with_results=too,
            )
            return f"{known.name} is deleted; {size(freed)} freed."

        if st.button("Delete it", type="primary", key="delete"):
            _try(delete)


def _keep(known: Known, study: Study) -> None:
    def save() -> str:
        save_study(store(), study)
        open_named(study.name)
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


def _facts(holding: Holding) -> str:
    largest = sorted(holding.stages.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{stage} {size(count)}" for stage, count in largest)
    if not holding.results:
        return "Nothing of it is computed yet."
    return f"{holding.results:,} results, {size(holding.bytes)}: {parts}.{_what_stays(holding)}"


def _actions(holding: Holding, title: str) -> None:
    known, study = holding.known, holding.known.study
    at_hand = known.origin != "results" and known.name == session().study_name
    st.subheader(plain(title), anchor=False)
    if study is None:
        st.error(plain(known.problem), icon=":material/error:")
        if known.origin == "saved":
            _delete(holding)
        return
    anchors = ", ".join(a.name for a in study.anchors)
    st.caption(f"{len(study.anchors)} anchors ({plain(anchors)}) on {plain(study.data.train)}.")
    st.markdown(_facts(holding))
    with st.container(horizontal=True):
        if known.origin == "results":
            _keep(known, study)
        elif st.button("Open", icon=":material/folder_open:", type="primary", key="open"):
            open_named(known.name)
            st.switch_page("views/study.py")
        if known.origin == "saved":
            _rename(known, at_hand)
        _duplicate(known, study)
        _free(holding, study)
        if known.origin == "saved":
            _delete(holding)
    if known.origin in ("built-in", "saved") and holding.done:
        _carry(known)


def _carry(known: Known) -> None:
    with st.expander("Carry it to another machine"):
        file = f"{known.name.replace(' ', '-')}.klas"
        st.markdown("Here, the study and all its results into one file; there, out of it:")
        commands = (
            ["klas", "cache", "pack", known.name, "--out", file],
            ["klas", "cache", "unpack", file],
        )
        st.code("\n".join(shlex.join(c) for c in commands), language="bash")


@says_errors
def page() -> None:
    """The page."""
    heading("Studies")
    if said := session().notices.pop("Studies", None):
        st.success(plain(said), icon=":material/check_circle:")
    holding, title = _table(held().studies)
    with st.container(border=True):
        _actions(holding, title)
    if st.button("Make a new study", icon=":material/add:", help="On the Anchors page."):
        st.switch_page("views/anchors.py")


page()
