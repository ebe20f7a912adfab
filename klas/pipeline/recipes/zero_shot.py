"""Tier ``zero_shot``: every candidate with its fitted layer, measured as it is."""

from collections.abc import Sequence
from functools import partial

from klas.measures.accuracy import stitch_outcomes
from klas.measures.normalisation import CALIBRATION, calibrate_stitches, has_statistics
from klas.measures.sweep import Tick
from klas.networks.family import Family
from klas.pipeline.context import Context
from klas.pipeline.recipes.calibration import calibration_batches
from klas.pipeline.recipes.groups import zero_shot_groups
from klas.pipeline.recipes.recipe import Cost, Make, Recipe
from klas.pipeline.recipes.scores import layers_memory_bytes
from klas.pipeline.speed import Speed
from klas.results.result import OUTCOMES, Fit, OfPair, ZeroShot
from klas.selection.space import Place, name_of
from klas.storage.arrays import Arrays


def _by_groups(result: ZeroShot, context: Context) -> Sequence[Make]:
    groups = zero_shot_groups(result, context) or ((),)
    return [partial(measure_group, result, context, places) for places in groups]


def measure_group(
    result: ZeroShot, context: Context, places: Sequence[Place], tick: Tick
) -> Arrays:
    """Each stitch's normalisation statistics, and its outcomes.

    They are the same to the bit whichever other stitches are in the group.
    """
    family = fitted_family(result, context, places)
    if has_statistics(family.target):
        calibrated(family, context)
    outcomes = measured(family, context, lambda samples: tick(samples * len(family.places)))
    return family.statistics_arrays() | outcomes


def fitted_family(result: OfPair, context: Context, places: Sequence[Place]) -> Family:
    """Some candidates of a pair with their layers by least squares."""
    fitted = context.read(Fit(source=result.source, target=result.target))
    return context.family(result.names, fitted, places)


def calibrated(family: Family, context: Context) -> dict[Place, float]:
    """Give every stitch normalisation statistics of its own; returns its mean training loss."""
    return calibrate_stitches(
        family,
        calibration_batches(context, family.names[0]),
        objective=context.objective,
        precision=context.precision,
    )


def measured(family: Family, context: Context, tick: Tick) -> Arrays:
    """How each stitch does on every validation sample, as it is stored."""
    val, metric = context.val, context.objective.task.metric
    outcomes = stitch_outcomes(
        family,
        lambda: context.batches(val.images, val.rows, family.names[0]),
        tick,
        objective=context.objective,
        precision=context.precision,
    )
    return {f"{name_of(p)}.{OUTCOMES}": metric.packed(each) for p, each in outcomes.items()}


def seconds_of_pass(result: OfPair, context: Context, speed: Speed) -> tuple[float, float]:
    """Seconds for one sample: to load it and run the source, and to run all target parts."""
    cost = context.costs[result.target]
    places = context.places(result.source, result.target)
    rests = sum(cost.back(j).macs / cost.total_macs for _, j in places)
    front = speed.loading + speed.forward[result.source]
    return front, rests * speed.forward[result.target]


def _stitch_samples(result: ZeroShot, context: Context) -> int:
    return len(context.places(result.source, result.target)) * context.val.samples


def _cost(result: ZeroShot, context: Context, speed: Speed) -> Cost:
    calibration = CALIBRATION if has_statistics(context.anchors[result.target]) else 0
    return Cost(
        seconds=(context.val.samples + calibration) * sum(seconds_of_pass(result, context, speed)),
        memory_bytes=layers_memory_bytes(result, context),
    )


ZERO_SHOT = Recipe[ZeroShot](units=_stitch_samples, shares=_by_groups, cost=_cost)
