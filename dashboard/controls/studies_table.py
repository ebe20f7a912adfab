"""The table of all studies, and which of them is marked."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.session.resources import store
from dashboard.session.state import StudiesRow, session
from dashboard.text.study_titles import titles
from klas.jobs import listing
from klas.results.usage import Known, StudyUsage
from klas.study import STAGES

KEPT_AS = {
    "built-in": "built in",
    "saved": "saved here",
    "file": "a file",
    "results": "its results alone",
}
TABLE_HELP = {
    "study": "Where a name occurs twice, with what differs from the first study of that name.",
    "kept as": "A study run from a file elsewhere is known here by its results alone.",
    "size (MB)": "All results that it uses; what several studies share counts with each of them.",
    "only its own (MB)": "What freeing its results gives back: no other study uses them.",
    "problem": "Why its file is no study. Mend the file, or delete it here.",
    "joint trainings": "Selections trained together with their anchors.",
}


def identity(known: Known) -> str:
    """A study's identity among those that the store knows: names alone may occur twice."""
    return f"{known.origin}:{known.name}:{known.study.results_key() if known.study else ''}"


def studies_table(holdings: Sequence[StudyUsage]) -> tuple[StudyUsage, str]:
    """A row for every study; one of them is marked.

    Returns:
        The study whose row is marked, at first the one that is open, and its title.
    """
    named = titles(holdings)
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
            "problem": h.known.problem,
            "now": "computing …" if h.known.study and h.known.study.name in busy else "",
        }
        for h, title in zip(holdings, named)
    ]
    identities = [identity(h.known) for h in holdings]
    open_study = session().study_name
    at_hand = next((row for row, h in enumerate(holdings) if h.known.name == open_study), 0)
    shown = _marked_row(identities, at_hand)
    key = f"studies:{hash((*identities, at_hand))}"

    def mark() -> None:
        selected = st.session_state[key]["selection"]["rows"]
        marked = identities[selected[0]] if selected else None
        session().studies_row = StudiesRow(open_study, marked)

    table = pd.DataFrame(rows)
    table["last computed"] = pd.to_datetime(table["last computed"], utc=True)
    for rare in ("now", "problem"):
        if not any(table[rare]):
            del table[rare]
    columns: dict[str, Any] = {
        "study": st.column_config.TextColumn(width="medium", help=TABLE_HELP["study"]),
        "problem": st.column_config.TextColumn(width="large", help=TABLE_HELP["problem"]),
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
        on_select=mark,
        selection_mode="single-row",
        placeholder="–",
        selection_default={"selection": {"rows": [shown]}},
        column_config=columns,
    )
    return holdings[shown], named[shown]


def _marked_row(identities: Sequence[str], at_hand: int) -> int:
    """The row that is marked: a mark holds until another study is opened, here or elsewhere."""
    marked = session().studies_row
    if marked is None or marked.open_study != session().study_name:
        return at_hand
    rows: dict[str | None, int] = {name: row for row, name in enumerate(identities)}
    return rows.get(marked.identity, at_hand)


def _cell(done: tuple[int, int] | None) -> str:
    if done is None or done[0] == 0:
        return "–"
    return "✓" if done[0] == done[1] else f"{done[0]} of {done[1]}"
