"""The sums behind every score of a pair: of probes' predictions (Θ), of CKA, and of the fit.

A score is a function of these sums (:mod:`klas.selection.scores`), read back by
:mod:`klas.results.score_sums`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.measures.cka import CHUNK, cka_terms
from klas.measures.divergence import CHUNK_BYTES, prediction_sums
from klas.measures.least_squares import fit_stitch_layers
from klas.measures.matching import matching_sums
from klas.measures.sweep import Tick
from klas.networks.batch_size import image_bytes
from klas.networks.family import Family
from klas.pipeline.context import Context
from klas.pipeline.recipes.probes import prediction_bounds, probe_logits
from klas.pipeline.recipes.recipe import Cost, Recipe, undivided
from klas.pipeline.recipes.streamed import comparing_cost, theta_sums
from klas.pipeline.speed import Speed
from klas.results.result import Cka, Fit, OfPair, Theta, Validation
from klas.selection.bootstrap import BLOCKS, block_of
from klas.storage.arrays import Arrays

MATCHING_SAMPLES = 1_000  # enough for direct matching: each image has many positions
CHUNKS_AT_ONCE = 6  # arrays of a chunk's size that Θ has in memory
FITTING = 2  # products of activations, in forward passes beside the anchors' own


def _theta(result: Theta, context: Context, tick: Tick) -> Arrays:
    sums = (
        theta_sums(result, context) if context.objective.streamed else _kept_sums(result, context)
    )
    tick(1)
    return dict(sums)


def _kept_sums(result: Theta, context: Context) -> dict[str, NDArray[np.float64]]:
    """From the features that are kept of the units."""
    bounds = prediction_bounds(context, *result.names)
    first = probe_logits(context, result.source, bounds)
    if result.source == result.target:
        return prediction_sums(((p, p) for p in first), bounds)
    second = probe_logits(context, result.target, bounds)
    return prediction_sums(zip(first, second), bounds)


def _cka(result: Cka, context: Context, tick: Tick) -> Arrays:
    """HSIC of every cut of the source with every cut of the target, per block."""
    first, second = (_grams(context, name) for name in result.names)
    terms = cka_terms(first, second, context.val.samples)
    # A chunk that lies in two blocks counts in the first.
    blocks = block_of(context.val.samples)
    of_chunks = blocks[::CHUNK][: len(terms.cross)]
    sums = {}
    for part, values in terms._asdict().items():
        sums[part] = np.zeros((blocks.max() + 1, *values.shape[1:]))
        np.add.at(sums[part], of_chunks, values)
    tick(1)
    return sums


def _grams(context: Context, anchor: str) -> list[NDArray[np.float32]]:
    """What :class:`klas.measures.cka.GramMatrices` kept of an anchor, cut by cut."""
    arrays = context.read(Validation(anchor=anchor))
    return [arrays[f"gram{k}"] for k in range(context.anchors[anchor].info.depth + 1)]


def _fit(result: Fit, context: Context, tick: Tick) -> Arrays:
    """Stitch layers by least squares, and how well they match.

    What they miss of the target's activations on validation images is kept as sums per block.
    """
    source, target = (context.anchors[name] for name in result.names)
    places = context.places(result.source, result.target)
    train, val = context.train, context.val
    states = fit_stitch_layers(
        source,
        target,
        context.batches(train.images, context.splits.fit_rows, *result.names),
        places,
        precision=context.precision,
    )
    # Their sums are kept in the order of the candidates.
    family = Family(source, target, {place: states[place] for place in places})
    samples = _matching_samples(context)
    loader = context.batches(val.images, val.rows[samples], *result.names)
    blocks = block_of(val.samples)[samples]
    sums = matching_sums(family, loader, blocks, tick, precision=context.precision)
    return family.to_arrays(anchors=False) | sums._asdict()


def _matching_samples(context: Context) -> NDArray[np.int64]:
    """Which of the validation samples direct matching looks at: the first of every block."""
    blocks = block_of(context.val.samples)
    starts = np.searchsorted(blocks, blocks)
    return np.flatnonzero(np.arange(len(blocks)) - starts < MATCHING_SAMPLES // BLOCKS)


def layer_values(result: OfPair, context: Context) -> int:
    """How many numbers the stitch layers of all candidates of a pair have, about."""
    have, want = (context.anchors[name].info.layouts for name in result.names)
    places = context.places(result.source, result.target)
    return int(sum(have[i].channels * want[j].channels for i, j in places))


def layers_memory_bytes(result: OfPair, context: Context) -> int:
    """Memory for a batch through both anchors, and for layers that are trained.

    Each layer has a gradient and two moments beside it.
    """
    image = image_bytes(*(context.anchors[name].info.layouts for name in result.names))
    return context.batch.size * image + 4 * 4 * layer_values(result, context)


def _matrix_cost(result: Any, context: Context, speed: Speed) -> Cost:
    return Cost(memory_bytes=CHUNKS_AT_ONCE * CHUNK_BYTES)


def _fit_cost(result: Fit, context: Context, speed: Speed) -> Cost:
    both = 2 * speed.loading + speed.forward[result.source] + speed.forward[result.target]
    samples = len(_matching_samples(context)) + len(context.splits.fit_rows)
    return Cost(
        seconds=float(samples * both * FITTING),
        values=layer_values(result, context),
        memory_bytes=layers_memory_bytes(result, context),
    )


def _one(result: Any, context: Context) -> int:
    return 1


def _fit_units(result: Fit, context: Context) -> int:
    return len(_matching_samples(context))


def _theta_cost(result: Theta, context: Context, speed: Speed) -> Cost:
    streamed = context.objective.streamed
    return (comparing_cost if streamed else _matrix_cost)(result, context, speed)


THETA = Recipe[Theta](units=_one, shares=undivided(_theta), cost=_theta_cost)
CKA = Recipe[Cka](units=_one, shares=undivided(_cka), cost=_matrix_cost)
FIT = Recipe[Fit](units=_fit_units, shares=undivided(_fit), cost=_fit_cost)
