"""Changes of the study that is being made: its anchors and the settings that it starts from."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.session.state import AnchorPick, session


def anchors() -> list[AnchorPick]:
    """The anchors picked so far."""
    return session().draft.anchors


def add(pick: AnchorPick) -> None:
    """Pick one more."""
    session().draft.anchors = [*anchors(), pick]


def drop(name: str) -> None:
    """Pick one less."""
    session().draft.anchors = [pick for pick in anchors() if pick["name"] != name]
    _renew("table")


def follow_table(shown: Sequence[str], selected: Sequence[str]) -> None:
    """Follow a table: of the networks that it shows, the selected ones are picked."""
    kept = [p for p in anchors() if _is_local(p) or p["name"] not in shown or p["name"] in selected]
    names = [pick["name"] for pick in kept]
    new = [AnchorPick(name=tag, model=tag, weights=None) for tag in selected if tag not in names]
    session().draft.anchors = kept + new


def picked_tags() -> set[str]:
    """The picks that a table of pretrained networks can show as selected."""
    return {pick["name"] for pick in anchors() if not _is_local(pick)}


def base() -> Mapping[str, Any]:
    """The study that this one starts from, as plain values; empty for the defaults."""
    return session().draft.base


def start_from(raw: Mapping[str, Any]) -> None:
    """Begin anew: with the anchors and settings of a study, or with nothing."""
    session().draft.base = raw
    session().draft.anchors = [
        AnchorPick(name=a["name"], model=a["model"], weights=a["weights"])
        for a in raw.get("anchors", [])
    ]
    _renew("table")
    _renew("form")


def key(widget: str) -> str:
    """The key of the page's table or form: another one where it has to take the draft's values."""
    return f"{widget}:{session().draft.renewals.get(widget, 0)}"


def _renew(widget: str) -> None:
    renewals = session().draft.renewals
    renewals[widget] = renewals.get(widget, 0) + 1


def _is_local(pick: AnchorPick) -> bool:
    return bool(pick["weights"]) or pick["name"] != pick["model"]
