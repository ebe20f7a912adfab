"""The choices of a session, kept beyond the page whose widget makes them, and in the address.

Streamlit's own binding of widgets to the address makes `st.switch_page` fail; so the address is
read and written here.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, cast

import streamlit as st

from dashboard.session import address
from dashboard.session.resources import named_study, study, study_name
from dashboard.session.state import Choices, Widget, choices, session
from klas.errors import KlasError
from klas.study import DIGITS

ECHO_SECONDS = 3.0  # how long a busy page may take to learn its own address


def forget(name: str) -> None:
    """Go back to the study's own value; the next :func:`keep` tells the address."""
    _by_name().pop(name, None)


def keep(name: str, value: Any) -> None:
    """Keep a choice, None for none, in the session and in the address."""
    if value is None:
        forget(name)
    else:
        _by_name()[name] = value
    write_address()


def _by_name() -> dict[str, Any]:
    """The choices, to be changed by a name that is known at run time alone."""
    return cast(dict[str, Any], choices())


def bound(
    name: str,
    value: Any,
    *limits: Any,
    options: Sequence[Any] | None = None,
    argument: Literal["value", "default"] = "value",
    change: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Arguments for a widget that shows this value and follows what it is changed to.

    A widget that has to show another value than the browser's is another widget, with a key of
    its own, and the old one changes nothing any more: the browser's next message may have left
    before it heard of this (an idle page sends one every few seconds) and still hold the old
    value.

    Every run tells the browser the value, as the widget's default. A value that is put into
    Streamlit's session state is told by one run alone. Where the next run begins before that
    message left, as on a busy machine, the browser would never hear of it, show the widget's
    first option, and answer with that as if somebody had picked it.

    Args:
        limits: what makes the widget another one to Streamlit, beside the page that it is on:
            its range, for instance.
        options: of a selectbox, the value among them; they are limits too.
        argument: what other widgets call their default.
        change: what to do with a new value; it is kept under the name unless told otherwise.
    """
    told: dict[str, Any] = {argument: value} if options is None else _picked(value, options)
    widgets, identity = session().widgets, (session().page, *limits, *(options or ()))
    widget = widgets.get(name, Widget())
    key = f"bound:{name}:{widget.number}"
    if key not in st.session_state or (st.session_state[key], widget.identity) != (value, identity):
        widget = widgets[name] = Widget(widget.number + 1, identity)
        key = f"bound:{name}:{widget.number}"

    def changed() -> None:
        if widgets[name].number == widget.number:
            (change or partial(keep, name))(st.session_state[key])

    return {"key": key, "on_change": changed, **told}


def _picked(value: Any, options: Sequence[Any]) -> dict[str, Any]:
    """The arguments of a selectbox that shows one of its options."""
    return {"options": options, "index": list(options).index(value)}


def forget_all() -> None:
    """Forget every choice; bound widgets follow, and what others show goes with it."""
    present = session()
    present.choices = Choices()
    present.cost_axis = present.typed_budget = None
    for key in [k for k in st.session_state if str(k).startswith("widget:")]:
        del st.session_state[key]


def new_address(title: str) -> dict[str, str] | None:
    """The address, if it is not what this session wrote; None if there is nothing to follow.

    The way to another page empties the address: then the view is kept. The browser's Back to
    that empty address brings the same view again.
    """
    asked, present = st.query_params.to_dict(), session()
    before, present.page = present.page, title
    if not asked and before != title:
        present.emptied[title] = present.address
        return None
    since_written = time.monotonic() - present.address_written
    if not asked and present.address and since_written < ECHO_SECONDS:
        # The page's bare address, from before it heard of the choice that was just made.
        st.query_params.from_dict(present.address)
        return None
    return None if asked == present.address else asked or present.emptied.get(title, {})


def follow(asked: dict[str, str]) -> None:
    """Take over the choices of an address; of a study that can't be read there are none."""
    try:
        read, complaints = address.parse(asked, study())
    except KlasError:
        return  # the page says it where it needs the study
    kept = _beyond_any_address(read)
    forget_all()
    choices().update(kept)
    choices().update(read)
    if complaints:
        st.warning("  \n".join(complaints), icon=":material/link_off:")


def _beyond_any_address(followed: Choices) -> Choices:
    """The list and its undo, where they hold one that no address can bring back.

    Args:
        followed: the choices of the address that is followed. A list among them takes the place
            of the present one, which can then be had back.
    """
    listed, undo = choices().get("list", ()), choices().get("undo", ())
    if all(map(address.fits, (listed, *undo))):
        return {}
    if not address.fits(listed) and "list" not in followed:
        return {"list": listed, "undo": undo}
    return {"undo": undo if listed == followed.get("list", ()) else (*undo, listed)}


def write_address() -> None:
    """Make the address say what is shown."""
    present = session()
    try:
        parameters = address.compose(present.choices, study())
    except KlasError:
        parameters = {}
    if study_name() != next(iter(named_study()), DIGITS.name):
        parameters = {"study": study_name(), **parameters}
    if parameters != present.address:
        present.address_written = time.monotonic()
    present.address = parameters
    if st.query_params.to_dict() != parameters:
        st.query_params.from_dict(parameters)
