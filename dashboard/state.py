"""What the pages share: the store, the study at hand, and the choices made so far."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import streamlit as st

from klas.errors import KlasError
from klas.results import Document, Pair, pairs_of
from klas.store import Store
from klas.study import SelectionSpec, Study, change, load_study

P = ParamSpec("P")
SELECTION_KEYS = ("tau", "tau_mode", "buckets", "binning")


@st.cache_resource(max_entries=2)
def store() -> Store:
    """The cache folder, opened once for all sessions."""
    return Store()


def study() -> Study:
    """The study at hand: the file that KLAS_STUDY names, else the built-in one.

    Raises:
        StudyError: the file is absent or makes no sense.
    """
    return load_study(os.environ.get("KLAS_STUDY"))


def study_arguments() -> list[str]:
    """How the study at hand is named on a command line: not at all if it is the built-in one."""
    named = os.environ.get("KLAS_STUDY")
    return [named] if named else []


def document() -> Document | None:
    """The latest scores document of the study at hand, or None before a first run."""
    path = store().root / "refs" / f"scores-{study().results_key()}.json"
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return None
    return _document(study().results_key(), stamp)


@st.cache_resource(max_entries=4)
def _document(key: str, stamp: int) -> Document | None:
    found: Document | None = store().get_ref(f"scores-{key}")
    return found


def scored_document() -> Document:
    """The document once its scores are there; otherwise says what to do and ends the page."""
    found = document()
    if found is None or not found["pairs"] or found["pairs"][0]["theta"] is None:
        st.info(
            "There are no scores yet. Compute them on the **Study** page.", icon=":material/info:"
        )
        if st.button("Go to Study", icon=":material/science:"):
            st.switch_page("views/study.py")
        st.stop()
    return found


def remembered(name: str, default: Any) -> Any:
    """A choice made earlier in this session, on any page."""
    return st.session_state.get(f"kept:{name}", default)


def forget(name: str) -> None:
    """Go back to the study's own value."""
    st.session_state.pop(f"kept:{name}", None)


def remember(name: str) -> Callable[[], None]:
    """A callback that keeps a widget's value beyond the page that shows it."""

    def keep() -> None:
        st.session_state[f"kept:{name}"] = st.session_state[f"widget:{name}"]

    return keep


def pick_pair(found: Document) -> Pair:
    """A selector of the pair, shared by the pages."""
    pairs = pairs_of(found)
    names = [p.name for p in pairs]
    chosen = remembered("pair", names[min(1, len(names) - 1)])
    name = st.selectbox(
        "Pair (source → target)",
        names,
        index=names.index(chosen) if chosen in names else 0,
        key="widget:pair",
        on_change=remember("pair"),
    )
    return pairs[names.index(name)]


def selection() -> SelectionSpec:
    """The study's selection with what was changed in this session."""
    values = {k: remembered(k, None) for k in SELECTION_KEYS}
    return change(study(), "selection", **values).selection


def says_errors(part: Callable[P, None]) -> Callable[P, None]:
    """Turn a KlasError into one sentence where the problem is; the page goes on around it."""

    @wraps(part)
    def shown(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            part(*args, **kwargs)
        except KlasError as error:
            st.error(str(error), icon=":material/error:")

    return shown
