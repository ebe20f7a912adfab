"""What the store holds, looked up again only after something changed."""

from pathlib import Path

import streamlit as st

from dashboard.session.resources import named_study, store
from klas.results.usage import Usage, usage
from klas.storage import exports, trained


def study_files() -> list[Path]:
    """The study files outside the store that the app knows."""
    return [Path(path) for path in named_study().values()]


def store_usage() -> Usage:
    """What the store holds, by study and by stage.

    Raises:
        StoreError: the index cannot be read.
    """
    return _usage(_stamp())


@st.cache_resource(max_entries=2, show_spinner=False)
def _usage(stamp: object) -> Usage:
    return usage(store(), study_files())


def _stamp() -> tuple[object, ...]:
    root = store().root
    files = [*(root / "refs").glob("*.json"), *(root / "studies").glob("*.toml"), *study_files()]
    files += (root / exports.FOLDER).glob("*")
    files += (root / trained.FOLDER).glob("*/*")
    stamps = sorted((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.exists())
    return (str(root), store().stamp(), tuple(stamps))
