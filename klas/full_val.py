"""Measure chosen stitches on every validation image: Γ and τ saw only a subset."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.arrays import under
from klas.choice import space
from klas.errors import SelectionError
from klas.measures.accuracy import network_hits, stitched_hits
from klas.measures.sweep import Tick
from klas.networks.anchor import Anchor
from klas.networks.stitch import Stitch, StitchLayer
from klas.pipeline import Pipeline
from klas.results import Pair, full_val_pair_key
from klas.stages import stitch_states
from klas.store import Arrays
from klas.study import Tier


def measure_full_val(
    pipeline: Pipeline, pair: Pair, chosen: NDArray[np.bool_], tier: Tier
) -> dict[str, Any]:
    """``{"samples": …, "accuracy": {"i-j": …}}`` of a pair's chosen stitches at a tier.

    Images that cannot be read are left out, as everywhere.

    Raises:
        SelectionError: nothing is chosen, or that tier was not computed.
    """
    if not chosen.any():
        raise SelectionError(f"{pair.name}: nothing is chosen, so there is nothing to measure")
    key = full_val_pair_key(pair, chosen, pipeline.study, tier)
    bench = pipeline.bench
    stored = pipeline.stored_layers(pair, chosen, tier)
    total = 0 if pipeline.store.has(key) else len(bench.val.labels)
    pipeline.progress.start("full_val", "images", total)
    pipeline.progress.label(pair.name)

    def make() -> dict[str, Any]:
        rows = bench.readable_val_rows()
        accuracy = bench.batch.retrying(
            lambda tick: _accuracies(pipeline, pair, chosen, stored, rows, tick),
            pipeline.progress.advance,
        )
        return {"samples": len(rows), "accuracy": accuracy}

    found: dict[str, Any] = pipeline.store.compute(key, make)
    return found


def _accuracies(
    pipeline: Pipeline,
    pair: Pair,
    chosen: NDArray[np.bool_],
    stored: Arrays,
    rows: NDArray[np.int64],
    tick: Tick,
) -> dict[str, float]:
    bench = pipeline.bench
    names = (pair.source["name"], pair.target["name"])
    source, target = (
        _trained(bench.anchors[name], stored, role)
        for name, role in zip(names, ("source", "target"))
    )
    wanted = [(int(i), int(j)) for i, j in pair.stitches[chosen]]
    states = stitch_states(stored)
    layers = bench.layers(*names, {stitch: states[stitch] for stitch in wanted})

    def loader() -> Iterable[tuple[Tensor, ...]]:
        return bench.batches(bench.val, rows, names[0])

    if not any(name.startswith("statistics/") for name in stored):
        hits = stitched_hits(
            source, target, layers, loader(), len(rows), tick, precision=bench.precision
        )
        return {f"{i}-{j}": float(bits.mean()) for (i, j), bits in hits.items()}
    return {
        f"{i}-{j}": float(network_hits(network, loader(), precision=bench.precision).mean())
        for (i, j), network in _with_statistics(source, target, layers, stored)
    }


def _trained(anchor: Anchor, stored: Arrays, role: str) -> Anchor:
    """The anchor with its jointly trained weights, if the tier has any."""
    state = _tensors(stored, f"{role}/")
    if not state:
        return anchor
    trained = deepcopy(anchor)
    trained.load_state_dict(state)
    trained.forget_tables()
    return trained


def _with_statistics(
    source: Anchor,
    target: Anchor,
    layers: Mapping[space.Stitch, StitchLayer],
    stored: Arrays,
) -> Iterable[tuple[space.Stitch, Stitch]]:
    for (i, j), layer in layers.items():
        network = Stitch(source, i, target, j, layer).eval()
        network.load_state_dict(_tensors(stored, f"statistics/{i}-{j}/"), strict=False)
        yield (i, j), network


def _tensors(stored: Arrays, prefix: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(v.copy()) for name, v in under(stored, prefix).items()}
