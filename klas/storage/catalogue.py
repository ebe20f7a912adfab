"""timm's pretrained networks and what they cost, as the store holds them. No torch here.

:mod:`klas.pipeline.catalogue` counts them once for a version of timm; then a search reads one
stored list.
"""

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from klas.errors import SelectionError
from klas.storage.key import Key
from klas.storage.store import Store
from klas.study import built_in_studies

VERSION = 1  # raised when the same timm would give other entries
STAGE = "catalogue"


@dataclass(frozen=True, kw_only=True)
class Network:
    """One pretrained network of timm.

    Attributes:
        tag: what ``timm.create_model`` takes, and a study names.
        family: timm's module of the architecture, such as ``vision_transformer``.
        kind: the network's class, such as ``VisionTransformer``; None if it can't be built.
        params: how many parameters it has; None if it can't be built.
        macs: MACs of one image at ``input_size``; None if they can't be counted.
        input_size: channels, height, width.
        classes: outputs of the pretrained head; 0 for a network without one.
        licence: of the weights, as timm states it.
        problem: why ``macs`` is None.
    """

    tag: str
    family: str
    kind: str | None
    params: int | None
    macs: int | None
    input_size: tuple[int, int, int]
    classes: int
    licence: str | None
    problem: str | None


def catalogue_key() -> Key:
    """Where the whole catalogue is stored."""
    return Key(stage=STAGE, version=VERSION, inputs=_origin(), label="every pretrained network")


def part_key(family: str, tags: Sequence[str]) -> Key:
    """Where the entries of some tags of a family are stored while the catalogue is built."""
    inputs = {**_origin(), "family": family, "tags": list(tags)}
    return Key(stage=STAGE, version=VERSION, inputs=inputs, label=f"{family}: {len(tags)} networks")


def read_catalogue(store: Store) -> list[Network] | None:
    """Every pretrained network in order of its tag, or None before the catalogue is built."""
    rows = store.get(catalogue_key())
    return None if rows is None else [from_plain(row) for row in rows]


def from_plain(row: dict[str, Any]) -> Network:
    """An entry from its stored form, which has its fields by name."""
    return Network(**{**row, "input_size": tuple(row["input_size"])})


def find_networks(
    networks: Sequence[Network],
    *,
    text: str = "",
    families: Collection[str] = (),
    low: float | None = None,
    high: float | None = None,
    size: int | None = None,
) -> list[Network]:
    """The networks that match, in the given order.

    Args:
        networks: the catalogue.
        text: terms that must all occur in the tag, family or class, in upper or lower case.
        families: only these; all of them if empty.
        low, high: bounds of cost in MACs, both included; a network that could not be counted
            satisfies neither.
        size: height of the input in pixels.
    """
    terms = text.lower().split()
    return [
        n
        for n in networks
        if all(term in f"{n.tag} {n.family} {n.kind or ''}".lower() for term in terms)
        and (not families or n.family in families)
        and (low is None or (n.macs is not None and n.macs >= low))
        and (high is None or (n.macs is not None and n.macs <= high))
        and (size is None or n.input_size[1] == size)
    ]


def families_of(networks: Iterable[Network]) -> list[str]:
    """The families, sorted."""
    return sorted({n.family for n in networks})


def check_families(networks: Sequence[Network], wanted: Iterable[str]) -> None:
    """Refuse a family that is not in the catalogue, naming the nearest ones that are.

    Raises:
        SelectionError: there is no such family.
    """
    known = families_of(networks)
    for family in wanted:
        if family not in known:
            near = difflib.get_close_matches(family, known, n=3, cutoff=0.5)
            hint = f"; the nearest are {', '.join(near)}" if near else ""
            raise SelectionError(f"{family!r} is not a family of the catalogue{hint}")


def _origin() -> dict[str, Any]:
    # The built-in anchors are registered with timm too, and change with this package.
    built_in = [a.model for study in built_in_studies().values() for a in study.anchors]
    return {"timm": version("timm"), "built_in": built_in}
