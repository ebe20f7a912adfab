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


def set_options(name: str, image_size: list[int] | None, fused: bool) -> None:
    """How a pick runs.

    Args:
        name: which one.
        image_size: height and width in pixels; None for the network's own.
        fused: whether in timm's fused form.
    """
    session().draft.anchors = [
        _with_options(pick, image_size, fused) if pick["name"] == name else pick
        for pick in anchors()
    ]


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
        _with_options(
            AnchorPick(name=a["name"], model=a["model"], weights=a["weights"]),
            a.get("image_size"),
            a.get("fused", False),
        )
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


def _with_options(pick: AnchorPick, image_size: list[int] | None, fused: bool) -> AnchorPick:
    """A pick that says of its options only what is not the default, as a study file does."""
    plain = AnchorPick(name=pick["name"], model=pick["model"], weights=pick["weights"])
    if image_size is not None:
        plain["image_size"] = image_size
    if fused:
        plain["fused"] = True
    return plain


def _is_local(pick: AnchorPick) -> bool:
    return bool(pick["weights"]) or pick["name"] != pick["model"]
