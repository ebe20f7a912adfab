"""Tier ``finetuned``: a pair's chosen stitches and its anchors, trained jointly, then measured."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from klas.measures.accuracy import network_outcomes, stitch_outcomes
from klas.measures.normalisation import CALIBRATION, calibrate
from klas.measures.race import Race
from klas.measures.sweep import Tick
from klas.measures.training import finetune
from klas.networks.batch_size import enough_memory_for
from klas.networks.family import Family, layer_states
from klas.pipeline.context import Context
from klas.pipeline.recipes.calibration import calibration_batches, check_batch
from klas.pipeline.recipes.recipe import Cost, Recipe, no_cost, no_units, undivided
from klas.pipeline.speed import Speed
from klas.results.race_note import race_note
from klas.results.result import (
    Finetuned,
    FinetunedOutcomes,
    FinetunedWeights,
    Fit,
    Validation,
    finetuned,
    outcomes_of,
)
from klas.selection.race import RUNG_SAMPLES, RUNGS, rung_steps
from klas.selection.space import Place, name_of
from klas.storage.arrays import Arrays

BACKWARD = 2.0  # cost of a backward pass to every weight, in forward passes


def _train(result: FinetunedWeights, context: Context, tick: Tick) -> Arrays:
    settings = result.finetuning
    # Copies: the pretrained anchors stay what every other result was measured on.
    source, target = (deepcopy(context.anchors[name]) for name in result.names)
    fitted = layer_states(context.read(Fit(source=result.source, target=result.target)))
    family = Family(source, target, {place: fitted[place] for place in result.stitches})
    race = _race(result, context) if result.racing else None
    if settings.steps or race:
        check_batch("finetuning", settings.batch, source, target)
        # The whole split, or as much of it as the steps can see.
        rows = np.sort(context.splits.readable_training_rows(settings.steps * settings.batch))
        samples = context.objective.task.samples
        with enough_memory_for(f"a batch of {settings.batch} {samples}; lower [finetuning] batch"):
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
                race=race,
                precision=context.precision,
            )
    kept = family if race is None else family.copy_of(race.places(settings.steps))
    arrays = context.batch.retrying(lambda _: _calibrated(kept, context), lambda n: None)
    return arrays if race is None else arrays | race.to_arrays()


def _calibrated(family: Family, context: Context) -> Arrays:
    """What was trained, as arrays, every member with normalisation statistics of its own."""
    _calibrate(family, context)
    return family.to_arrays(anchors=True)


def _calibrate(family: Family, context: Context) -> None:
    calibrate(
        family, lambda viewer: calibration_batches(context, viewer), precision=context.precision
    )


def _race(result: FinetunedWeights, context: Context) -> Race:
    """The race of a training's stitches, measured on the first validation samples."""
    split, (source, target) = context.val, result.names
    rows = split.rows[:RUNG_SAMPLES]

    note = race_note(context.store, context.keys.of(finetuned(result)))

    def measure(family: Family, step: int) -> dict[Place, float]:
        _calibrate(family, context)
        outcomes = stitch_outcomes(
            family,
            lambda: context.batches(split.images, rows, source),
            lambda n: None,
            objective=context.objective,
            precision=context.precision,
        )
        metric = context.objective.task.metric
        accuracy = {place: metric.value(each) for place, each in outcomes.items()}
        note.add(step, {name_of(place): value for place, value in accuracy.items()})
        return accuracy

    return Race(
        result.stitches,
        buckets=result.racing,
        macs=[context.stitch_cost(source, i, target, j).macs for i, j in result.stitches],
        steps=result.finetuning.steps,
        measure=lambda family, step: context.batch.retrying(
            lambda _: measure(family, step), lambda n: None
        ),
    )


def _measure(result: FinetunedOutcomes, context: Context, tick: Tick) -> Arrays:
    """How the trained stitches and anchors do on every sample of a split, as it is stored."""
    split, stored = context.splits.named(result.split), context.read(result.weights)
    trained = layer_states(stored)  # not what dropped out of a race
    family = context.family(
        result.names, stored, [place for place in result.weights.stitches if place in trained]
    )

    def loader(viewer: str) -> Any:
        return context.batches(split.images, split.rows, viewer)

    outcomes = {
        name_of(place): each
        for place, each in stitch_outcomes(
            family,
            lambda: loader(family.names[0]),
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
    metric = context.objective.task.metric
    return {name: metric.packed(each) for name, each in outcomes.items()}


def _summarise(result: Finetuned, context: Context, tick: Tick) -> dict[str, Any]:
    """``{"accuracy": {"i-j": …}, "anchors": {name: …}, "steps": …}`` on the validation samples.

    Of a race also its ``"rungs"``.
    """
    packed = context.read(outcomes_of(result.weights, "val"))
    metric, samples = context.objective.task.metric, context.val.samples
    accuracy = {name: metric.packed_value(each, samples) for name, each in packed.items()}
    with suppress(OSError):
        _checkpoint(result.weights, context).unlink()
    race_note(context.store, context.keys.of(result)).remove()
    return {
        "accuracy": {n: value for n, value in accuracy.items() if n not in result.names},
        "anchors": {n: value for n, value in accuracy.items() if n in result.names},
        "steps": result.weights.finetuning.steps,
    } | ({"rungs": _rungs(result.weights, context)} if result.weights.racing else {})


def _rungs(result: FinetunedWeights, context: Context) -> list[dict[str, Any]]:
    """``[{"step": …, "accuracy": {"i-j": …}}, …]`` of everyone that was left at each rung."""
    measured = context.read(result)["race/accuracy"]
    return [
        {
            "step": step,
            "accuracy": {
                name_of(place): float(value)
                for place, value in zip(result.stitches, accuracy)
                if np.isfinite(value)
            },
        }
        for (step, _), accuracy in zip(rung_steps(result.finetuning.steps), measured)
    ]


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
        # A teacher with more words, as padding, must not teach one that its pupils don't have.
        return logits[..., : context.words] if context.objective.streamed else logits

    return teach


def _accuracy(anchor: str, context: Context) -> float:
    """Of a pretrained anchor on the validation samples."""
    metric = context.objective.task.metric
    return metric.value(metric.of_anchor(context.read(Validation(anchor=anchor))))


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
    images = result.finetuning.steps * result.finetuning.batch * (1 + BACKWARD)
    if result.racing:
        left = len(result.racing) + sum(_left(result, kept) for _, kept in RUNGS[:-1])
        images += left * (CALIBRATION + min(RUNG_SAMPLES, context.val.samples))
    return Cost(seconds=images * member)


def _left(result: FinetunedWeights, kept: int) -> int:
    """How many stitches are left after a rung."""
    return sum(min(kept, size) for size in Counter(result.racing).values())


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
