"""An anchor's passes over the data, and Θ between the outputs of two anchors."""

from typing import Any

import numpy as np
import torch

from klas.measures.accuracy import network_outcomes
from klas.measures.cka import CHUNK, TRIANGLE, GramMatrices
from klas.measures.divergence import chunk_rows, theta
from klas.measures.sweep import Collector, Outputs, PooledFeatures, Tick, sweep
from klas.networks.batch_size import image_bytes
from klas.pipeline.context import Context
from klas.pipeline.recipes.recipe import Cost, Recipe, Speed, no_cost, no_units
from klas.results.result import OUTCOMES, Features, TestOutcomes, ThetaOutput, Validation
from klas.storage.arrays import Arrays, chunks


def _validate(result: Validation, context: Context, tick: Tick) -> None:
    """One pass over the validation samples serves all that is asked of one anchor."""
    anchor, split, pool = context.anchors[result.anchor], context.val, context.study.probes.pool
    shapes = {
        **PooledFeatures.shapes(anchor.info, split.samples),
        **GramMatrices.shapes(anchor.info, split.samples),
    }
    if anchor.info.classes:
        shapes |= Outputs.shapes(anchor.info, split.samples)
    with context.store.writing(context.keys.of(result), shapes) as out:
        collectors: list[Collector] = [
            PooledFeatures(anchor, context.objective, pool, out.append),
            GramMatrices(anchor, split.samples, out.append),
        ]
        if anchor.info.classes:
            collectors.append(Outputs(anchor, out.append))
        loader = context.batches(split.images, split.rows, result.anchor)
        sweep(anchor, loader, collectors, tick, precision=context.precision)


def _collect_features(result: Features, context: Context, tick: Tick) -> None:
    """One pass over the training samples."""
    anchor, split, pool = context.anchors[result.anchor], context.train, context.study.probes.pool
    shapes = PooledFeatures.shapes(anchor.info, split.samples)
    with context.store.writing(context.keys.of(result), shapes) as out:
        features = PooledFeatures(anchor, context.objective, pool, out.append)
        loader = context.batches(split.images, split.rows, result.anchor)
        sweep(anchor, loader, [features], tick, precision=context.precision)


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
    return {OUTCOMES: np.packbits(outcomes)}


def _compare_outputs(result: ThetaOutput, context: Context, tick: Tick) -> float:
    logits = [context.read(need)["logits"] for need in result.needs]
    rows = chunk_rows(2, logits[0].shape[1])
    tensors = [map(torch.from_numpy, chunks(part, rows)) for part in logits]
    return float(theta((p[None], q[None]) for p, q in zip(*tensors))[0, 0])


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
    values = feature_width(context, result.anchor) + info.classes + grams
    return _pass_cost(context, speed, result.anchor, context.val.samples, values)


def _features_cost(result: Features, context: Context, speed: Speed) -> Cost:
    width = feature_width(context, result.anchor)
    return _pass_cost(context, speed, result.anchor, context.train.samples, width)


def _test_cost(result: TestOutcomes, context: Context, speed: Speed) -> Cost:
    return _pass_cost(context, speed, result.anchor, context.splits.named("test").samples, 0)


def feature_width(context: Context, anchor: str) -> int:
    """How many pooled features a sample has at all cuts together."""
    return sum(layout.channels for layout in context.anchors[anchor].info.layouts)


def _val_samples(result: Any, context: Context) -> int:
    return context.val.samples


def _train_samples(result: Any, context: Context) -> int:
    return context.train.samples


VALIDATION = Recipe[Validation](units=_val_samples, make=_validate, cost=_validation_cost)
FEATURES = Recipe[Features](units=_train_samples, make=_collect_features, cost=_features_cost)
TEST_OUTCOMES = Recipe[TestOutcomes](units=no_units, make=_test, cost=_test_cost)
THETA_OUTPUT = Recipe[ThetaOutput](units=no_units, make=_compare_outputs, cost=no_cost)
