"""An anchor's passes over the data, and Θ between the outputs of two anchors."""

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from klas.measures.accuracy import network_outcomes
from klas.measures.cka import CHUNK, TRIANGLE, GramMatrices
from klas.measures.divergence import chunk_rows, theta
from klas.measures.sweep import Append, Collector, Outputs, PooledFeatures, Tick, sweep
from klas.networks.batch_size import LARGEST_BATCH, image_bytes
from klas.pipeline.context import Context
from klas.pipeline.recipes.recipe import (
    Cost,
    Make,
    Recipe,
    Rows,
    no_cost,
    no_units,
    undivided,
)
from klas.pipeline.recipes.streamed import theta_of_outputs
from klas.pipeline.speed import Speed
from klas.results.result import OUTCOMES, Features, TestOutcomes, ThetaOutput, Validation
from klas.storage.arrays import Arrays, chunks

SHARE_SAMPLES = 4 * LARGEST_BATCH
"""A sweep is cut here. Whole batches, and whole chunks of CKA, lie on either side."""

assert SHARE_SAMPLES % CHUNK == 0


def _validation_passes(result: Validation, context: Context) -> Sequence[Make]:
    return [partial(_validate, result, rows, context) for rows in _blocks(context.val.rows)]


def _validate(result: Validation, rows: NDArray[np.int64], context: Context, tick: Tick) -> Rows:
    """One pass over some validation samples serves all that is asked of one anchor."""
    anchor, pool, samples = context.anchors[result.anchor], context.study.probes.pool, len(rows)
    kept = not context.objective.streamed
    shapes = {
        **(PooledFeatures.shapes(anchor.info, context.objective, samples) if kept else {}),
        **GramMatrices.shapes(anchor.info, samples),
    }
    if anchor.info.classes:
        shapes |= Outputs.shapes(anchor.info, context.objective, samples)

    def fill(append: Append) -> None:
        collectors: list[Collector] = [GramMatrices(anchor, samples, append)]
        if kept:
            collectors.insert(0, PooledFeatures(anchor, context.objective, pool, append))
        if anchor.info.classes:
            collectors.append(Outputs(anchor, context.objective, append))
        loader = context.batches(context.val.images, rows, result.anchor)
        sweep(anchor, loader, collectors, tick, precision=context.precision)

    return Rows(shapes=shapes, fill=fill)


def _training_passes(result: Features, context: Context) -> Sequence[Make]:
    if context.objective.streamed:
        return [lambda tick: {}]
    return [
        partial(_collect_features, result, rows, context) for rows in _blocks(context.train.rows)
    ]


def _collect_features(
    result: Features, rows: NDArray[np.int64], context: Context, tick: Tick
) -> Rows:
    """One pass over some training samples."""
    anchor, pool = context.anchors[result.anchor], context.study.probes.pool

    def fill(append: Append) -> None:
        features = PooledFeatures(anchor, context.objective, pool, append)
        loader = context.batches(context.train.images, rows, result.anchor)
        sweep(anchor, loader, [features], tick, precision=context.precision)

    shapes = PooledFeatures.shapes(anchor.info, context.objective, len(rows))
    return Rows(shapes=shapes, fill=fill)


def _blocks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + SHARE_SAMPLES] for start in range(0, len(rows), SHARE_SAMPLES)]


def _test(result: TestOutcomes, context: Context, tick: Tick) -> Arrays:
    anchor, split = context.anchors[result.anchor], context.splits.named("test")
    if not anchor.info.classes:
        return {}
    outcomes = network_outcomes(
        anchor,
        context.batches(split.images, split.rows, result.anchor),
        objective=context.objective,
        precision=context.precision,
    )
    return {OUTCOMES: context.objective.task.metric.packed(outcomes)}


def _compare_outputs(result: ThetaOutput, context: Context, tick: Tick) -> float:
    if context.objective.streamed:
        return theta_of_outputs(result, context)
    logits = [context.read(need)["logits"] for need in result.needs]
    cells = max(prod(part.shape[1:-1]) for part in logits)
    rows = chunk_rows(2 * cells, logits[0].shape[-1])
    tensors = [map(torch.from_numpy, chunks(part, rows)) for part in logits]
    return float(theta(([p], [q]) for p, q in zip(*tensors))[0, 0])


def _pass_cost(context: Context, speed: Speed, anchor: str, samples: int, values: int) -> Cost:
    """The cost of a pass that stores ``values`` numbers for each sample."""
    return Cost(
        seconds=samples * (speed.forward[anchor] + speed.loading),
        values=samples * values,
        memory_bytes=context.batch.size * image_bytes(context.anchors[anchor].info.layouts),
    )


def _validation_cost(result: Validation, context: Context, speed: Speed) -> Cost:
    info = context.anchors[result.anchor].info
    grams = int(TRIANGLE / CHUNK * (info.depth + 1))
    values = feature_width(context, result.anchor) + grams
    if info.classes:
        values += sum(prod(shape) for shape, _ in context.objective.output_forms(info).values())
    return _pass_cost(context, speed, result.anchor, context.val.samples, values)


def _features_cost(result: Features, context: Context, speed: Speed) -> Cost:
    if context.objective.streamed:
        return Cost()
    width = feature_width(context, result.anchor)
    return _pass_cost(context, speed, result.anchor, context.train.samples, width)


def _test_cost(result: TestOutcomes, context: Context, speed: Speed) -> Cost:
    return _pass_cost(context, speed, result.anchor, context.splits.named("test").samples, 0)


def feature_width(context: Context, anchor: str) -> int:
    """How many features of a sample's units are kept, of all cuts together."""
    if context.objective.streamed:
        return 0
    layouts = context.anchors[anchor].info.layouts
    return sum(prod(context.objective.unit_shape(lay)) * lay.channels for lay in layouts)


def _val_samples(result: Validation, context: Context) -> int:
    return context.val.samples


def _train_samples(result: Features, context: Context) -> int:
    return 0 if context.objective.streamed else context.train.samples


VALIDATION = Recipe[Validation](
    units=_val_samples, shares=_validation_passes, cost=_validation_cost
)
FEATURES = Recipe[Features](units=_train_samples, shares=_training_passes, cost=_features_cost)
TEST_OUTCOMES = Recipe[TestOutcomes](units=no_units, shares=undivided(_test), cost=_test_cost)
THETA_OUTPUT = Recipe[ThetaOutput](units=no_units, shares=undivided(_compare_outputs), cost=no_cost)
