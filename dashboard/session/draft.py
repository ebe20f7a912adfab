"""The study being made: its anchors and the settings that it starts from, kept in the session.

Anchors are plain values, as a study file has them: name, model and weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

Pick = dict[str, Any]


def picks() -> list[Pick]:
    """The anchors picked so far."""
    found: list[Pick] = st.session_state.get("picks", [])
    return found


def add(pick: Pick) -> None:
    """Pick one more."""
    st.session_state["picks"] = [*picks(), pick]


def drop(name: str) -> None:
    """Pick one less."""
    st.session_state["picks"] = [p for p in picks() if p["name"] != name]
    _renew("table")


def mirror(shown: Sequence[str], selected: Sequence[str]) -> None:
    """Follow a table: of the networks that it shows, the selected ones are picked."""
    kept = [p for p in picks() if _is_local(p) or p["name"] not in shown or p["name"] in selected]
    names = [p["name"] for p in kept]
    new = [{"name": t, "model": t, "weights": None} for t in selected if t not in names]
    st.session_state["picks"] = kept + new


def picked_tags() -> set[str]:
    """The picks that a table of pretrained networks can show as selected."""
    return {p["name"] for p in picks() if not _is_local(p)}


def base() -> Mapping[str, Any]:
    """The study that this one starts from, as plain values; empty for the defaults."""
    found: Mapping[str, Any] = st.session_state.get("base", {})
    return found


def start_from(raw: Mapping[str, Any]) -> None:
    """Begin anew: with the anchors and settings of a study, or with nothing."""
    st.session_state["base"] = raw
    st.session_state["picks"] = [dict(a) for a in raw.get("anchors", [])]
    _renew("table")
    _renew("form")


def key(widget: str) -> str:
    """The key of the page's table or form: another one where it has to take the draft's values."""
    return f"{widget}:{st.session_state.get(f'renewed:{widget}', 0)}"


def _renew(widget: str) -> None:
    st.session_state[f"renewed:{widget}"] = st.session_state.get(f"renewed:{widget}", 0) + 1


def _is_local(pick: Pick) -> bool:
    return bool(pick["weights"]) or pick["name"] != pick["model"]
