"""Tier ``tuned``: every candidate's stitch layer trained with the anchors frozen, then measured."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from klas.measures.normalisation import CALIBRATION
from klas.measures.sweep import Tick
from klas.measures.training import tune
from klas.networks.batch_size import enough_memory_for
from klas.pipeline.context import Context
from klas.pipeline.recipes.calibration import check_batch
from klas.pipeline.recipes.groups import BACKWARD, tuned_groups
from klas.pipeline.recipes.recipe import Cost, Make, Recipe
from klas.pipeline.recipes.scores import layer_values, layers_memory_bytes
from klas.pipeline.recipes.zero_shot import (
    calibrated,
    fitted_family,
    measured,
    seconds_of_pass,
)
from klas.pipeline.speed import Speed
from klas.results.result import DIVERGED, Tuned
from klas.selection.space import Place
from klas.storage.arrays import Arrays

MARGIN = 0.02  # by how much a loss may end above where it began: a few steps may do that


def _by_groups(result: Tuned, context: Context) -> Sequence[Make]:
    groups = tuned_groups(result, context) or ((),)
    return [partial(tune_group, result, context, places) for places in groups]


def tune_group(result: Tuned, context: Context, places: Sequence[Place], tick: Tick) -> Arrays:
    """Layers, statistics and outcomes of the stitches that learned something; who diverged.

    They are the same to the bit whichever other stitches are in the group.
    """
    family, settings = fitted_family(result, context, places), context.study.tuning
    check_batch("tuning", settings.batch, family.target)
    before, samples = calibrated(family, context), context.objective.task.samples
    with enough_memory_for(f"a batch of {settings.batch} {samples}; lower [tuning] batch"):
        tune(
            family,
            context.training_batches(family.names, context.train.rows, settings),
            objective=context.objective,
            steps=settings.steps,
            lr=settings.lr,
            tick=lambda steps: tick(steps * len(family.places)),
            precision=context.precision,
        )
    after = calibrated(family, context)
    # A loss that is no number is not below anything either.
    learned = [p for p in family.places if after[p] <= (1 + MARGIN) * before[p]]
    diverged = [place for place in family.places if place not in learned]
    arrays = family.to_arrays(anchors=False)
    family = context.family(result.names, arrays, learned)
    return (
        family.to_arrays(anchors=False)
        | measured(family, context, lambda samples: None)
        | {DIVERGED: np.array(diverged, dtype=np.int64).reshape(-1, 2)}
    )


def _stitch_steps(result: Tuned, context: Context) -> int:
    return len(context.places(result.source, result.target)) * context.study.tuning.steps


def _cost(result: Tuned, context: Context, speed: Speed) -> Cost:
    front, rests = seconds_of_pass(result, context, speed)
    images = context.study.tuning.steps * context.study.tuning.batch
    passes = context.val.samples + 2 * CALIBRATION
    matching = images / 2 * speed.forward[result.target]
    return Cost(
        seconds=matching + passes * (front + rests) + images * (front + (1 + BACKWARD) * rests),
        values=layer_values(result, context),
        memory_bytes=layers_memory_bytes(result, context),
    )


TUNED = Recipe[Tuned](units=_stitch_steps, shares=_by_groups, cost=_cost)
