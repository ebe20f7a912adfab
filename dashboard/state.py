"""What the pages share: the store, the study at hand, and the choices made so far."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import streamlit as st

from klas.catalogue import Network, catalogue_key, read_catalogue
from klas.errors import KlasError
from klas.results import Document, Pair, pairs_of
from klas.store import Store
from klas.studies import saved_studies, study_path
from klas.study import DIGITS, SelectionSpec, Study, change, load_study

P = ParamSpec("P")
ALL_PAIRS = "All pairs"
SELECTION_KEYS = ("tau", "tau_mode", "buckets", "binning")


@st.cache_resource(max_entries=2)
def store() -> Store:
    """The cache folder, opened once for all sessions."""
    return Store()


def heading(title: str) -> None:
    """A page's title, and beside it the chooser of the study that every page is about.

    The choice is part of the address, so a link opens the same study.
    """
    names = list(dict.fromkeys([*_named_study(), DIGITS.name, *saved_studies(store())]))
    asked = st.query_params.get("study")
    opened = st.session_state.get("opened")
    if asked in names and asked != opened:
        open_named(asked)
    elif opened not in names:
        open_named(names[0])
    opened = st.session_state["opened"]
    left, right = st.columns([3, 1], vertical_alignment="bottom", gap="large")
    left.title(title)
    # Not bound to the address by Streamlit: with a bound parameter `st.switch_page` fails.
    st.session_state["study"] = opened
    right.selectbox(
        "Study",
        names,
        key="study",
        on_change=lambda: open_named(st.session_state["study"]),
        help="The built-in study, and those made on the **Anchors** page.",
    )
    if asked is not None and asked not in names:
        st.warning(f"There is no study {asked[:80]!r} here.", icon=":material/warning:")
    if opened != names[0]:
        st.query_params["study"] = opened
    elif "study" in st.query_params:
        del st.query_params["study"]


def open_named(name: str) -> None:
    """Show this study from the next run on. What was chosen with another one is forgotten."""
    st.session_state["opened"] = name
    st.query_params["study"] = name
    for key in [k for k in st.session_state if str(k).startswith(("kept:", "widget:"))]:
        del st.session_state[key]


def _named_study() -> dict[str, str]:
    """The file that KLAS_STUDY names, by its own name; nothing if the variable is not set."""
    named = os.environ.get("KLAS_STUDY")
    return {Path(named).name: named} if named else {}


def study() -> Study:
    """The study at hand: the chosen one, at first the file that KLAS_STUDY names or the built-in.

    Raises:
        StudyError: its file is absent or makes no sense.
    """
    arguments = study_arguments()
    return load_study(arguments[0] if arguments else None)


def study_arguments() -> list[str]:
    """How the study at hand is named on a command line: not at all if it is the built-in one."""
    name, named = st.session_state["opened"], _named_study()
    if name in named:
        return [named[name]]
    return [] if name == DIGITS.name else [str(study_path(store(), name))]


def catalogue() -> list[Network] | None:
    """Every pretrained network, or None before the catalogue is built."""
    digest = catalogue_key().digest
    found = _catalogue(digest)
    if found is None:
        _catalogue.clear()  # it may be there the next time
    return found


@st.cache_resource(max_entries=1)
def _catalogue(digest: str) -> list[Network] | None:
    return read_catalogue(store())


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


def pick_pair(found: Document, *, or_all: bool = False) -> Pair | None:
    """A selector of the pair, shared by the pages; None stands for all of them, if offered."""
    pairs = pairs_of(found)
    names = [p.name for p in pairs] + [ALL_PAIRS] * (or_all and len(pairs) > 1)
    # At first the pair with the most to choose from.
    richest = max(pairs, key=lambda p: int(p.in_space.sum()))
    chosen = remembered("pair", richest.name)
    name = st.selectbox(
        "Pair (source → target)",
        names,
        index=names.index(chosen) if chosen in names else 0,
        key="widget:pair",
        on_change=remember("pair"),
    )
    return None if name == ALL_PAIRS else pairs[names.index(name)]


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
