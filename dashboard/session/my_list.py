"""The stitches that a visitor picked by hand or by rule: in the session, and in the address.

A list is a tuple of entries without repetition, in the order in which they came.
"""

from collections.abc import Iterable

from dashboard.model.list_entries import Entry
from dashboard.session.choices import keep
from dashboard.session.state import choices

MOST_UNDONE = 50


def entries() -> tuple[Entry, ...]:
    """The list as it is now."""
    return choices().get("list", ())


def change_to(wanted: Iterable[Entry]) -> None:
    """Make the list these; what it was can be had back."""
    new, old = tuple(dict.fromkeys(wanted)), entries()
    if new != old:
        choices()["undo"] = (*choices().get("undo", ()), old)[-MOST_UNDONE:]
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
    return bool(choices().get("undo", ()))


def undo() -> None:
    """Take the last change back."""
    *before, last = choices().get("undo", ())
    choices()["undo"] = tuple(before)
    keep("list", last or None)
