"""Which images the stitches of a stored tier get right."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.data import Images
from klas.measures.accuracy import network_hits, stitched_hits
from klas.measures.sweep import Tick
from klas.networks.anchor import Anchor
from klas.networks.stitch import Stitch
from klas.pipeline.context import Bench
from klas.pipeline.stages import stitch_states
from klas.selection.space import Stitch as Place
from klas.storage.arrays import under
from klas.storage.store import Arrays

Hits = dict[str, NDArray[np.bool_]]
"""By ``"i-j"``, or by an anchor's name: (N,) which of the images are classified right."""


def stitch_hits(
    bench: Bench,
    names: tuple[str, str],
    stored: Arrays,
    stitches: Sequence[Place],
    images: Images,
    rows: NDArray[np.int64],
    tick: Tick,
) -> Hits:
    """What some stitches of a pair get right.

    They have the layers, jointly trained anchors and normalisation statistics that are in
    ``stored``.
    """
    source, target = trained_anchors(bench, names, stored)
    states = stitch_states(stored)
    layers = bench.layers(*names, {stitch: states[stitch] for stitch in stitches})

    def loader() -> Iterator[tuple[Tensor, ...]]:
        return bench.batches(images, rows, names[0])

    if not any(name.startswith("statistics/") for name in stored):  # one pass serves all
        found = stitched_hits(
            source, target, layers, loader(), len(rows), tick, precision=bench.precision
        )
        return {f"{i}-{j}": bits for (i, j), bits in found.items()}
    hits: Hits = {}
    for (i, j), layer in layers.items():
        network = Stitch(source, i, target, j, layer).eval()
        network.load_state_dict(_tensors(stored, f"statistics/{i}-{j}/"), strict=False)
        hits[f"{i}-{j}"] = network_hits(network, loader(), precision=bench.precision)
    return hits


def anchor_hits(
    bench: Bench,
    names: tuple[str, str],
    stored: Arrays,
    images: Images,
    rows: NDArray[np.int64],
) -> Hits:
    """What a pair's jointly trained anchors (with a head) get right."""
    pairs = zip(names, trained_anchors(bench, names, stored))
    return {
        name: network_hits(anchor, bench.batches(images, rows, name), precision=bench.precision)
        for name, anchor in pairs
        if anchor.info.classes
    }


def trained_anchors(bench: Bench, names: tuple[str, str], stored: Arrays) -> tuple[Anchor, Anchor]:
    """A pair's anchors with the jointly trained weights that a tier has; else the pretrained."""
    source, target = (
        _trained(bench.anchors[name], _tensors(stored, f"{role}/"))
        for name, role in zip(names, ("source", "target"))
    )
    return source, target


def _trained(anchor: Anchor, state: dict[str, Tensor]) -> Anchor:
    if not state:
        return anchor
    trained = deepcopy(anchor)
    trained.load_state_dict(state)
    trained.forget_tables()
    return trained


def _tensors(stored: Arrays, prefix: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(v.copy()) for name, v in under(stored, prefix).items()}
