"""Chosen stitches on every validation sample: Γ and τ saw only some of them."""

from typing import Any

from klas.measures.accuracy import stitch_outcomes
from klas.measures.sweep import Tick
from klas.networks.family import layer_states
from klas.pipeline.context import Context
from klas.pipeline.recipes.finetuned import macs_per_second
from klas.pipeline.recipes.recipe import Cost, Recipe, undivided
from klas.pipeline.speed import Speed
from klas.results.result import FullValidation
from klas.selection.space import name_of


def _measure(result: FullValidation, context: Context, tick: Tick) -> dict[str, Any]:
    """``{"samples": …, "accuracy": {"i-j": …}}``; what cannot be read is left out."""
    images, rows = context.val.images, context.splits.readable_val_rows()
    layers = context.layers(result.layers)
    known = layer_states(layers)  # not what dropped out of a race
    family = context.family(result.names, layers, [p for p in result.stitches if p in known])
    outcomes = stitch_outcomes(
        family,
        lambda: context.batches(images, rows, result.source),
        tick,
        objective=context.objective,
        precision=context.precision,
    )
    metric = context.objective.task.metric
    accuracy = {name_of(place): metric.value(each) for place, each in outcomes.items()}
    return {"samples": len(rows), "accuracy": accuracy}


def _samples(result: FullValidation, context: Context) -> int:
    return len(context.val.images.labels)


def _cost(result: FullValidation, context: Context, speed: Speed) -> Cost:
    macs = sum(
        context.stitch_cost(result.source, i, result.target, j).macs for i, j in result.stitches
    )
    each = speed.loading + macs / macs_per_second(result.names, context, speed)
    return Cost(seconds=_samples(result, context) * each)


FULL_VALIDATION = Recipe[FullValidation](units=_samples, shares=undivided(_measure), cost=_cost)
