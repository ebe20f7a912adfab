"""The stitches that a visitor picked by hand or by rule: in the session, and in the address.

A list is a tuple of entries without repetition, in the order in which they came.
"""

from collections.abc import Iterable

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.choices import keep, remembered
from dashboard.links import Entry
from klas.results import Document, Pair, pairs_of

MOST_UNDONE = 50


def entries() -> tuple[Entry, ...]:
    """The list as it is now."""
    found: tuple[Entry, ...] = remembered("list", ())
    return found


def change_to(wanted: Iterable[Entry]) -> None:
    """Make the list these; what it was can be had back."""
    new, old = tuple(dict.fromkeys(wanted)), entries()
    if new != old:
        st.session_state["kept:undo"] = (*remembered("undo", ()), old)[-MOST_UNDONE:]
        keep("list", new or None)


def add(new: Iterable[Entry]) -> None:
    """Put stitches at the end; those that are there stay where they are."""
    change_to([*entries(), *new])


def remove(gone: Iterable[Entry]) -> None:
    """Take stitches out."""
    out = set(gone)
    change_to([entry for entry in entries() if entry not in out])


def can_undo() -> bool:
    """Whether there is a change to take back."""
    return bool(remembered("undo", ()))


def undo() -> None:
    """Take the last change back."""
    *before, last = remembered("undo", ())
    st.session_state["kept:undo"] = tuple(before)
    keep("list", last or None)


def entry_of(pair: Pair, row: int) -> Entry:
    """A candidate as an entry."""
    i, j = (int(n) for n in pair.stitches[row])
    return (*pair.names, i, j)


def entries_of(pair: Pair, chosen: NDArray[np.bool_]) -> list[Entry]:
    """The chosen candidates of a pair as entries, by cost."""
    rows = np.flatnonzero(chosen)
    return [entry_of(pair, row) for row in rows[np.argsort(pair.macs[rows], kind="stable")]]


def picks(found: Document, listed: Iterable[Entry]) -> list[tuple[Pair, NDArray[np.bool_]]]:
    """Which candidates of which pairs a list means; pairs without any are left out, and so is
    what the study does not have."""
    wanted = set(listed)
    masks = [
        (pair, np.array([entry_of(pair, row) in wanted for row in range(len(pair.macs))], bool))
        for pair in pairs_of(found)
    ]
    return [(pair, mask) for pair, mask in masks if mask.any()]
