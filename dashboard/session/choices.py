"""The choices of a session, kept beyond the page whose widget makes them, and in the address.

Streamlit's own binding of widgets to the address makes `st.switch_page` fail; so the address is
read and written here.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import streamlit as st

from dashboard.session import address as links
from dashboard.session.resources import named_study, study
from klas.errors import KlasError
from klas.study import DIGITS

ECHO_SECONDS = 3.0  # how long a busy page may take to learn its own address


def remembered(name: str, default: Any) -> Any:
    """A choice made earlier in this session, on any page."""
    return st.session_state.get(f"kept:{name}", default)


def forget(name: str) -> None:
    """Go back to the study's own value; the next :func:`keep` tells the address."""
    st.session_state.pop(f"kept:{name}", None)


def keep(name: str, value: Any) -> None:
    """Keep a choice, None for none, in the session and in the address."""
    if value is None:
        forget(name)
    else:
        st.session_state[f"kept:{name}"] = value
    write_address()


def bound(
    name: str, value: Any, *limits: Any, change: Callable[[Any], None] | None = None
) -> dict[str, Any]:
    """Arguments for a widget that shows this value and follows what it is changed to.

    A widget that has to show another value than the browser's is another widget, with a key of
    its own, and the old one changes nothing any more: the browser's next message may have left
    before it heard of this (an idle page sends one every few seconds) and still hold the old
    value.

    Args:
        limits: what makes the widget another one to Streamlit, beside the page that it is on:
            its range, its options.
        change: what to do with a new value; it is kept under the name unless told otherwise.
    """
    counter, identity = f"times:{name}", (st.session_state.get("page"), *limits)
    times, known_as = st.session_state.get(counter, (0, None))
    key = f"bound:{name}:{times}"
    if key not in st.session_state or (st.session_state[key], known_as) != (value, identity):
        times += 1
        key = f"bound:{name}:{times}"
        st.session_state[key] = value
        st.session_state[counter] = times, identity

    def changed() -> None:
        if st.session_state[counter][0] == times:
            (change or partial(keep, name))(st.session_state[key])

    return {"key": key, "on_change": changed}


def forget_all() -> None:
    """Forget every choice; bound widgets follow, and what others show goes with it."""
    for key in [k for k in st.session_state if str(k).startswith(("kept:", "widget:"))]:
        del st.session_state[key]


def news(title: str) -> dict[str, str] | None:
    """What the address asks for that was not written by this session; None if that is nothing.

    The way to another page empties the address: then the view is kept. The browser's Back to
    that empty address brings the same view again.
    """
    asked = st.query_params.to_dict()
    before, st.session_state["page"] = st.session_state.get("page"), title
    mine = st.session_state.setdefault("address", {})
    emptied = st.session_state.setdefault("emptied", {})
    if not asked and before != title:
        emptied[title] = mine
        return None
    written = st.session_state.get("written", 0.0)
    if not asked and mine and time.monotonic() - written < ECHO_SECONDS:
        # The page's bare address, from before it heard of the choice that was just made.
        st.query_params.from_dict(mine)
        return None
    return None if asked == mine else asked or emptied.get(title, {})


def follow(asked: dict[str, str]) -> None:
    """Take over the choices of an address; of a study that can't be read there are none."""
    try:
        found, wrong = links.parse(asked, study())
    except KlasError:
        return  # the page says it where it needs the study
    kept = _without_address(found)
    forget_all()
    for name, value in (kept | found).items():
        st.session_state[f"kept:{name}"] = value
    if wrong:
        st.warning("  \n".join(wrong), icon=":material/link_off:")


def _without_address(found: Mapping[str, Any]) -> dict[str, Any]:
    """The list and its undo, where they hold one that no address can bring back.

    Args:
        found: the choices of the address that is followed. A list among them takes the place of
            the present one, which can then be had back.
    """
    listed, undo = remembered("list", ()), remembered("undo", ())
    if all(map(links.fits, (listed, *undo))):
        return {}
    if not links.fits(listed) and "list" not in found:
        return {"list": listed, "undo": undo}
    return {"undo": undo if listed == found.get("list", ()) else (*undo, listed)}


def write_address() -> None:
    """Make the address say what is shown."""
    opened = st.session_state["opened"]
    kept = {str(k)[5:]: v for k, v in st.session_state.items() if str(k).startswith("kept:")}
    try:
        said = links.compose(kept, study())
    except KlasError:
        said = {}
    if opened != next(iter(named_study()), DIGITS.name):
        said = {"study": opened, **said}
    if said != st.session_state.get("address"):
        st.session_state["written"] = time.monotonic()
    st.session_state["address"] = said
    if st.query_params.to_dict() != said:
        st.query_params.from_dict(said)
