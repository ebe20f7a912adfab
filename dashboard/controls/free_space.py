"""Freeing what the store holds: of a study, of a stage, of no study, all of it."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import streamlit as st

from dashboard.session.resources import store, without_place
from dashboard.session.state import session
from dashboard.session.usage import study_files
from dashboard.text.markup import plain
from dashboard.text.study_titles import titles
from klas.errors import KlasError
from klas.jobs import listing
from klas.results.formatting import size
from klas.results.freeing import (
    free_everything,
    free_networks,
    free_stage,
    free_study,
    free_unclaimed,
)
from klas.results.usage import Usage

PAGE = "Cache"


class _Free(Protocol):
    def __call__(self, *, at_work: Collection[str | None]) -> int: ...


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A part of the store that can be freed.

    Attributes:
        name: what to call it.
        bytes: that it takes.
        consequence: what freeing it means.
        free: does it, and returns the bytes that are free then.
    """

    name: str
    bytes: int
    consequence: str
    free: _Free


def free_space(usage: Usage) -> None:
    """A selector of what to free, and the button, which asks once more."""
    st.subheader("Free space", anchor=False)
    parts = {part.name: part for part in _parts(usage)}
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    part = parts[left.selectbox("What", list(parts), key="cache:what")]
    with right.popover(
        f"Free {size(part.bytes)}",
        icon=":material/mop:",
        width="stretch",
        key=f"free:{part.name}:{part.bytes}",
    ):
        st.markdown(f"**{plain(part.name)}**: {size(part.bytes)} are deleted. {part.consequence}")
        if st.button(f"Yes, free {size(part.bytes)}", type="primary", key="cache:free"):
            try:
                freed = part.free(at_work=listing.studies_at_work(store()))
            except KlasError as error:
                st.error(plain(without_place(str(error))), icon=":material/error:")
            else:
                session().notices[PAGE] = f"Freed {size(freed)}."
                st.rerun()
    st.caption(part.consequence)


def _parts(usage: Usage) -> list[_Part]:
    """What takes any space."""
    parts = [
        _Part(
            name="Results of no known study",
            bytes=usage.unclaimed,
            consequence="They were left by studies that were deleted, or are earlier lists of "
            "timm's networks.",
            free=partial(free_unclaimed, store(), study_files()),
        )
    ]
    parts += [
        _Part(
            name=f"Study {title}: what no other study uses",
            bytes=study_usage.freeable,
            consequence="A new run of the study computes them again.",
            free=partial(free_study, store(), study_usage.known.study, study_files()),
        )
        for study_usage, title in zip(usage.studies, titles(usage.studies))
        if study_usage.known.study is not None
    ]
    parts += [
        _Part(
            name=f"Stage {stage}, of all studies",
            bytes=taken,
            consequence=_consequence_of_stage(stage),
            free=partial(free_stage, store(), stage),
        )
        for stage, (_, taken) in usage.stages.items()
    ]
    parts.append(
        _Part(
            name="Exported networks",
            bytes=usage.exports[1],
            consequence="Each can be exported again, as long as its results are here.",
            free=partial(free_networks, store(), "exports"),
        )
    )
    parts.append(
        _Part(
            name="Trained networks",
            bytes=usage.trained[1],
            consequence="Each has to be trained again, from its first step.",
            free=partial(free_networks, store(), "trained"),
        )
    )
    parts.append(
        _Part(
            name="Everything",
            bytes=usage.bytes,
            consequence="Every study starts from scratch. The studies themselves stay.",
            free=partial(free_everything, store()),
        )
    )
    return [part for part in parts if part.bytes]


def _consequence_of_stage(stage: str) -> str:
    if stage == "features":
        return (
            "Finished studies can still be viewed: only their next run needs these, and computes "
            "them again."
        )
    if stage == "catalogue":
        return "The **Anchors** page needs it; building it again takes minutes."
    return "The next run of any study that uses them computes them again."
