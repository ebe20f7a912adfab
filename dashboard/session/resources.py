"""The store, and the study that a session has open: its file, its document."""

import os
from functools import lru_cache
from pathlib import Path

import streamlit as st

from dashboard.session.state import session
from klas.results.pair import Document
from klas.results.refs import scores_ref, stored_document
from klas.storage.catalogue import Network, catalogue_key, read_catalogue
from klas.storage.files import default_root
from klas.storage.saved_studies import study_path
from klas.storage.store import Store
from klas.study import DIGITS, Study, built_in_named, built_in_studies, load_study


@st.cache_resource(max_entries=2)
def store() -> Store:
    """The cache folder, opened once for all sessions."""
    return Store()


def without_place(sentence: str) -> str:
    """A sentence about the cache, without where on the server that is."""
    root = default_root()
    return sentence.replace(str(root), root.name) if root.is_absolute() and root.name else sentence


def named_study() -> dict[str, str]:
    """The file that KLAS_STUDY names, by its own name; nothing if the variable is not set."""
    named = os.environ.get("KLAS_STUDY")
    return {Path(named).name: named} if named else {}


def study_name() -> str:
    """What the chooser of studies calls the one that is open."""
    name = session().study_name
    assert name is not None, "the heading of every page opens one"
    return name


def study() -> Study:
    """The study at hand: the chosen one, at first the file that KLAS_STUDY names or the built-in.

    Raises:
        StudyError: its file is absent or makes no sense.
    """
    arguments = study_arguments()
    if not arguments:
        return DIGITS
    if (built_in := built_in_named(arguments[0])) is not None:
        return built_in
    path = Path(arguments[0])
    try:
        stamp = path.stat()
    except OSError:
        return load_study(path)  # which says why it can't be read
    return _study(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=16)  # asked for many times a run, and Streamlit's own cache takes its time
def _study(path: Path, stamp: int, size: int) -> Study:
    return load_study(path)


def study_arguments() -> list[str]:
    """How the study at hand is named on a command line: not at all if it is the usual one."""
    name, named = study_name(), named_study()
    if name in named:
        return [named[name]]
    if name == DIGITS.name:
        return []
    return [name] if name in built_in_studies() else [str(study_path(store(), name))]


def catalogue() -> list[Network] | None:
    """Every pretrained network, or None before the catalogue is built."""
    digest = catalogue_key().digest
    networks = _catalogue(digest)
    if networks is None:
        _catalogue.clear()  # it may be there the next time
    return networks


@st.cache_resource(max_entries=1)
def _catalogue(digest: str) -> list[Network] | None:
    return read_catalogue(store())


def document() -> Document | None:
    """The latest scores document of the study at hand, or None before a first run."""
    path = store().ref_path(scores_ref(study().results_key()))
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return None
    return _document(study().results_key(), stamp)


@st.cache_resource(max_entries=4)
def _document(key: str, stamp: int) -> Document | None:
    return stored_document(store(), key)
