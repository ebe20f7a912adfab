"""Count every pretrained network of timm: build it without memory, run it without numbers."""

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, model_entrypoint

import klas.digits  # noqa: F401 - the built-in networks are in the catalogue too
from klas.networks.cost import count_macs
from klas.progress import Progress, Silent
from klas.storage.catalogue import Network, catalogue_key, from_plain, part_key, read_catalogue
from klas.storage.store import Store

PART = 40  # tags that are stored together: about ten seconds' work


@dataclass(frozen=True)
class _Shape:
    """What a cost depends on; tags that differ only in their weights share one."""

    architecture: str
    input_size: tuple[int, int, int]
    classes: int


@dataclass(frozen=True, kw_only=True)
class _Cost:
    kind: str | None = None
    params: int | None = None
    macs: int | None = None
    problem: str | None = None


def build_catalogue(store: Store, progress: Progress | None = None) -> list[Network]:
    """Every pretrained network of timm and of ours, in order of its tag; counted if need be.

    Each part is stored as soon as it is counted, so a killed run loses one at most.
    """
    progress = progress or Silent()
    networks = read_catalogue(store)
    if networks is not None:
        progress.start("catalogue", "networks", 0)
        return networks
    parts = _parts(timm.list_pretrained())
    missing = [tags for family, tags in parts if not store.has(part_key(family, tags))]
    total = sum(len({_shape(tag) for tag in tags}) for tags in missing)
    progress.start("catalogue", "networks", total)
    rows: list[dict[str, Any]] = []
    for family, tags in parts:
        key = part_key(family, tags)
        rows += store.compute(key, partial(count_part, family, tags, progress))
    rows.sort(key=lambda row: row["tag"])
    store.put(catalogue_key(), rows)
    return [from_plain(row) for row in rows]


def count_part(family: str, tags: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
    """The entries of some tags of a family in their stored form."""
    costs: dict[_Shape, _Cost] = {}
    rows = []
    for tag in tags:
        shape = _shape(tag)
        if shape not in costs:
            progress.label(f"{family}: {shape.architecture}")
            costs[shape] = _count(tag, shape)
            progress.advance(1)
        config = get_pretrained_cfg(tag)
        entry = Network(
            tag=tag,
            family=family,
            input_size=shape.input_size,
            classes=shape.classes,
            licence=config.license,
            **asdict(costs[shape]),
        )
        rows.append(asdict(entry))
    return rows


def _parts(tags: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The tags by family, large families in several parts."""
    families: dict[str, list[str]] = {}
    for tag in tags:
        families.setdefault(_family(tag), []).append(tag)
    return [
        (family, members[start : start + PART])
        for family, members in families.items()
        for start in range(0, len(members), PART)
    ]


def _count(tag: str, shape: _Shape) -> _Cost:
    """Class, parameters and MACs at batch 1; the reason where one can't be had."""
    kind = params = None
    try:
        with (
            torch.device("meta"),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            # As an anchor is built, but without its weights: the tag brings its own head.
            model = timm.create_model(tag, pretrained=False).eval()
            kind, params = type(model).__name__, sum(p.numel() for p in model.parameters())
            count = count_macs(model, torch.empty(1, *shape.input_size))
    except Exception as error:  # whatever a constructor of a thousand raises, the others count
        lines = str(error).strip().splitlines() or ["no message"]
        problem = f"{type(error).__name__}: {lines[0][:200]}"
        return _Cost(kind=kind, params=params, problem=problem)
    if count.uncounted:
        problem = f"there is no formula for the MACs of {', '.join(count.uncounted)}"
        return _Cost(kind=kind, params=params, problem=problem)
    return _Cost(kind=kind, params=params, macs=count.macs)


def _shape(tag: str) -> _Shape:
    config = get_pretrained_cfg(tag)
    channels, height, width = config.input_size
    return _Shape(config.architecture or tag, (channels, height, width), config.num_classes)


def _family(tag: str) -> str:
    """The module of an architecture in timm; for a network from elsewhere, its package."""
    module = str(model_entrypoint(tag.split(".")[0]).__module__).split(".")
    return module[-1] if module[0] == "timm" else module[-2]
