"""Measure chosen stitches on every validation image: Γ and τ saw only a subset."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.errors import SelectionError
from klas.pipeline.evaluation import stitch_hits
from klas.pipeline.run import Pipeline
from klas.results.pair import Pair, full_val_pair_key
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
        names, stitches = pair.names, pair.places(chosen)
        hits = bench.batch.retrying(
            lambda tick: stitch_hits(bench, names, stored, stitches, bench.val, rows, tick),
            pipeline.progress.advance,
        )
        accuracy = {stitch: float(bits.mean()) for stitch, bits in hits.items()}
        return {"samples": len(rows), "accuracy": accuracy}

    found: dict[str, Any] = pipeline.store.compute(key, make)
    pipeline.record()
    return found
