"""Tier ``finetuned``: a pair's chosen stitches and its anchors, trained jointly, then measured."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from klas.measures.accuracy import network_outcomes, stitch_outcomes
from klas.measures.normalisation import calibrate
from klas.measures.sweep import Tick
from klas.measures.training import finetune
from klas.networks.batch_size import enough_memory_for
from klas.networks.family import Family, layer_states
from klas.pipeline.context import Context
from klas.pipeline.recipes.calibration import calibration_batches, check_batch
from klas.pipeline.recipes.recipe import Cost, Recipe, no_cost, no_units, undivided
from klas.pipeline.speed import Speed
from klas.results.result import (
    Finetuned,
    FinetunedOutcomes,
    FinetunedWeights,
    Fit,
    Validation,
    finetuned,
    outcomes_of,
)
from klas.selection.space import name_of
from klas.storage.arrays import Arrays

BACKWARD = 2.0  # cost of a backward pass to every weight, in forward passes


def _train(result: FinetunedWeights, context: Context, tick: Tick) -> Arrays:
    settings = result.finetuning
    # Copies: the pretrained anchors stay what every other result was measured on.
    source, target = (deepcopy(context.anchors[name]) for name in result.names)
    fitted = layer_states(context.read(Fit(source=result.source, target=result.target)))
    family = Family(source, target, {place: fitted[place] for place in result.stitches})
    if settings.steps:
        check_batch("finetuning", settings.batch, source, target)
        # The whole split, or as much of it as the steps can see.
        rows = np.sort(context.splits.readable_training_rows(settings.steps * settings.batch))
        with enough_memory_for(f"a batch of {settings.batch} images; lower [finetuning] batch"):
            finetune(
                family,
                context.training_batches(family.names, rows, settings),
                objective=context.objective,
                steps=settings.steps,
                lr=settings.lr,
                seed=context.study.order_seed(settings),
                checkpoint=_checkpoint(result, context),
                tick=tick,
                teach=teacher(result, context) if settings.distillation else None,
                precision=context.precision,
            )
    return context.batch.retrying(lambda _: _calibrated(family, context), lambda n: None)


def _calibrated(family: Family, context: Context) -> Arrays:
    """What was trained, as arrays, every member with normalisation statistics of its own."""
    calibrate(
        family, lambda viewer: calibration_batches(context, viewer), precision=context.precision
    )
    return family.to_arrays(anchors=True)


def _measure(result: FinetunedOutcomes, context: Context, tick: Tick) -> Arrays:
    """How the trained stitches and anchors do on every sample of a split, packed to bits."""
    split, stored = context.splits.named(result.split), context.read(result.weights)
    family = context.family(result.names, stored, result.weights.stitches)

    def loader(viewer: str) -> Any:
        return context.batches(split.images, split.rows, viewer)

    outcomes = {
        name_of(place): bits
        for place, bits in stitch_outcomes(
            family,
            lambda: loader(family.names[0]),
            split.samples,
            lambda n: None,
            objective=context.objective,
            precision=context.precision,
        ).items()
    }
    for role in family.anchors:
        outcomes[family.title(role)] = network_outcomes(
            family.use(role),
            loader(family.viewer(role)),
            objective=context.objective,
            precision=context.precision,
        )
    return {name: np.packbits(bits) for name, bits in outcomes.items()}


def _summarise(result: Finetuned, context: Context, tick: Tick) -> dict[str, Any]:
    """``{"accuracy": {"i-j": …}, "anchors": {name: …}, "steps": …}`` on the validation samples."""
    packed = context.read(outcomes_of(result.weights, "val"))
    metric, samples = context.objective.task.metric, context.val.samples
    accuracy = {
        name: metric.value(np.unpackbits(bits, count=samples)) for name, bits in packed.items()
    }
    with suppress(OSError):
        _checkpoint(result.weights, context).unlink()
    return {
        "accuracy": {n: value for n, value in accuracy.items() if n not in result.names},
        "anchors": {n: value for n, value in accuracy.items() if n in result.names},
        "steps": result.weights.finetuning.steps,
    }


def teacher(result: FinetunedWeights, context: Context) -> Callable[[Tensor, Tensor], Tensor]:
    """The best pretrained anchor with a head, on its own view of the images.

    Of two equals it is the costlier one.
    """
    best = max(
        (name for name in result.names if name not in context.headless),
        key=lambda name: (_accuracy(name, context), context.costs[name].total_macs),
    )

    def teach(source_view: Tensor, target_view: Tensor) -> Tensor:
        view = source_view if best == result.source else target_view
        logits: Tensor = context.anchors[best](view)
        return logits

    return teach


def _accuracy(anchor: str, context: Context) -> float:
    """Of a pretrained anchor on the validation samples."""
    stored = context.read(Validation(anchor=anchor))
    return context.objective.task.metric.of_outputs(stored["logits"], stored["labels"])


def _checkpoint(result: FinetunedWeights, context: Context) -> Path:
    digest = context.keys.of(finetuned(result)).digest
    return context.store.root / "tmp" / f"{digest}.safetensors"


def _steps(result: FinetunedWeights, context: Context) -> int:
    return result.finetuning.steps


def _members_macs(result: FinetunedWeights, context: Context) -> list[int]:
    stitches = [
        context.stitch_cost(result.source, i, result.target, j).macs for i, j in result.stitches
    ]
    return [*stitches, *(context.costs[name].total_macs for name in result.names)]


def macs_per_second(names: tuple[str, ...], context: Context, speed: Speed) -> float:
    """How many MACs of a pair's networks this machine does in a second."""
    macs = sum(context.costs[name].total_macs for name in names)
    return macs / sum(speed.forward[name] for name in names)


def _training_cost(result: FinetunedWeights, context: Context, speed: Speed) -> Cost:
    macs = _members_macs(result, context)
    member = sum(macs) / len(macs) / macs_per_second(result.names, context, speed)
    images = result.finetuning.steps * result.finetuning.batch
    return Cost(seconds=images * member * (1 + BACKWARD))


def _measuring_cost(result: FinetunedOutcomes, context: Context, speed: Speed) -> Cost:
    macs = sum(_members_macs(result.weights, context))
    samples = context.splits.named(result.split).samples
    return Cost(seconds=samples * macs / macs_per_second(result.names, context, speed))


FINETUNED_WEIGHTS = Recipe[FinetunedWeights](
    units=_steps, shares=undivided(_train), cost=_training_cost
)
FINETUNED_OUTCOMES = Recipe[FinetunedOutcomes](
    units=no_units, shares=undivided(_measure), cost=_measuring_cost
)
FINETUNED = Recipe[Finetuned](units=no_units, shares=undivided(_summarise), cost=no_cost)
