"""Probes: trained on an anchor's features, and what they predict on the validation samples."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.measures.divergence import Bounds, chunk_bounds, chunk_rows
from klas.measures.probenet import BATCH, EPOCHS, steps_of, train_by_passes
from klas.measures.probes import CHUNK_BYTES, Probe, fit_temperature, mean_and_std, train_probe
from klas.measures.schedule import batch_rows
from klas.measures.sweep import Tick
from klas.networks.batch_size import enough_memory_for, memory_budget_bytes
from klas.pipeline.context import Context
from klas.pipeline.recipes.passes import feature_width
from klas.pipeline.recipes.recipe import Cost, Make, Recipe, no_units, undivided
from klas.pipeline.recipes.streamed import (
    comparing_cost,
    probe_accuracies,
    train_probes,
    training_cost,
)
from klas.pipeline.speed import Speed
from klas.results.result import Features, ProbeAccuracy, Probes, Validation
from klas.selection.bootstrap import block_of
from klas.storage.arrays import Arrays, parts

PARTS = ("mean", "std", "weight", "bias")  # of a probe
HELD_OUT = 10_000  # units; plenty for one temperature
PASSES = 150  # evaluations that L-BFGS needs to converge, about
CHUNKS_AT_ONCE = 6  # arrays of a chunk's size that training has in memory
HISTORY = 40  # earlier steps and gradients that L-BFGS remembers


def _trainings(result: Probes, context: Context) -> Sequence[Make]:
    """Each cut's probe is trained apart, unless they share the passes of their anchor."""
    if context.objective.streamed:
        return [partial(train_probes, result, context)]
    cuts = range(context.anchors[result.anchor].info.depth + 1)
    return [partial(_train, result, k, context) for k in cuts]


def _train(result: Probes, k: int, context: Context, tick: Tick) -> Arrays:
    arrays = context.read(Features(anchor=result.anchor))
    objective, layout = context.objective, context.anchors[result.anchor].info.layouts[k]
    labels = torch.from_numpy(arrays["labels"].copy()).to(context.device)
    settings, classes = context.study.probes, len(context.splits.class_names)
    # A fitted temperature needs units that the probe has not seen.
    held_out = min(len(labels) // 10, HELD_OUT) if settings.temperature == "fitted" else 0
    kept = len(labels) - held_out
    features = arrays[f"cut{k}"]
    units, targets = _units(features[:kept]), objective.unit_targets(labels[:kept], layout, classes)
    if settings.trainer == "probenet":
        probe = _train_by_passes(result, k, context, features[:kept])
    else:
        probe = train_probe(units, targets, classes, l2=settings.l2)
    if settings.temperature == "fitted":
        unseen = torch.from_numpy(_units(features[kept:]).copy()).to(context.device)
        wanted = objective.unit_targets(labels[kept:], layout, classes)
        temperature = fit_temperature(probe.logits(unseen), wanted)
    else:
        temperature = settings.temperature
    tick(1)
    return {
        **{f"cut{k}.{part}": getattr(probe, part).cpu().numpy() for part in PARTS},
        "temperature": np.array([temperature]),
        "converged": np.array([probe.converged]),
    }


def _train_by_passes(
    result: Probes, k: int, context: Context, features: NDArray[np.float32]
) -> Probe:
    """The paper's way; of the features of the training images it takes the scale alone."""
    train, settings = context.train, context.study.probes
    steps = steps_of(len(features))
    order = batch_rows(0, steps, rows=len(features), batch=BATCH, seed=context.study.seed)
    batches = context.batches(train.images, train.rows[order], result.anchor, batch=BATCH)
    mean, std = mean_and_std(_units(features), context.device)
    with enough_memory_for(f"probes' batches of {BATCH} images"):
        return train_by_passes(
            context.anchors[result.anchor],
            k,
            batches,
            steps,
            mean=mean,
            std=std,
            classes=len(context.splits.class_names),
            l2=settings.l2,
            objective=context.objective,
            pool=settings.pool,
            precision=context.precision,
        )


def _units(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(U, C) of the features (N, …, C) of samples that have units of their own."""
    return features.reshape(-1, features.shape[-1])


def _measure(result: ProbeAccuracy, context: Context, tick: Tick) -> list[float]:
    if context.objective.streamed:
        return probe_accuracies(result, context)
    labels = torch.from_numpy(context.read(Validation(anchor=result.anchor))["labels"].copy())
    objective, layouts = context.objective, context.anchors[result.anchor].info.layouts
    outcomes: list[list[Tensor]] = [[] for _ in layouts]
    bounds = prediction_bounds(context, result.anchor)
    for (start, stop, _), cuts in zip(bounds, probe_logits(context, result.anchor, bounds)):
        for of_cut, logits, layout in zip(outcomes, cuts, layouts):
            here = objective.unit_outcomes(logits.cpu(), labels[start:stop], layout)
            of_cut.append(here)
    return [objective.task.metric.value(torch.cat(of_cut).numpy()) for of_cut in outcomes]


def probe_logits(context: Context, anchor: str, bounds: Bounds) -> Iterator[list[Tensor]]:
    """Every probe's logits on the validation samples, n + 1 times (rows, …, K) for each chunk."""
    features = context.read(Validation(anchor=anchor))
    arrays = context.read(Probes(anchor=anchor))
    probes = []
    for k, converged in enumerate(arrays["converged"]):
        values = {
            part: torch.from_numpy(arrays[f"cut{k}.{part}"].copy()).to(context.device)
            for part in PARTS
        }
        temperature = float(arrays["temperature"][k])
        probes.append(Probe(converged=bool(converged), temperature=temperature, **values))
    cuts = [parts(features[f"cut{k}"], bounds) for k in range(len(probes))]
    for rows_of_cuts in zip(*cuts):
        pairs = zip(probes, rows_of_cuts)
        yield [p.logits(torch.from_numpy(rows).to(context.device)) for p, rows in pairs]


def prediction_bounds(context: Context, *anchors: str) -> Bounds:
    """Chunks of the validation samples, small enough for all predictions of these anchors."""
    layouts = [layout for name in anchors for layout in context.anchors[name].info.layouts]
    predictions = sum(prod(context.objective.unit_shape(layout)) for layout in layouts)
    rows = chunk_rows(predictions, len(context.splits.class_names))
    return chunk_bounds(block_of(context.val.samples), rows)


def _cuts(result: Probes, context: Context) -> int:
    return context.anchors[result.anchor].info.depth + 1


def _cost(result: Probes, context: Context, speed: Speed) -> Cost:
    if context.objective.streamed:
        return training_cost(result, context, speed)
    classes, samples = len(context.splits.class_names), context.train.samples
    width = feature_width(context, result.anchor)
    widest = max(layout.channels for layout in context.anchors[result.anchor].info.layouts)
    fastest = max(context.costs[n].total_macs / s for n, s in speed.forward.items())
    features = 4 * widest * samples
    kept = features if features <= memory_budget_bytes(context.device) else 0
    if context.study.probes.trainer == "probenet":
        half = speed.forward[result.anchor] / 2 + speed.loading  # passes end at cut 0 … n
        seconds = EPOCHS * samples * _cuts(result, context) * half
    else:
        seconds = PASSES * 3 * samples * width * classes / fastest
    return Cost(
        seconds=seconds,
        values=classes * width,
        memory_bytes=kept + 4 * HISTORY * widest * classes + CHUNKS_AT_ONCE * CHUNK_BYTES,
    )


def _measuring_cost(result: ProbeAccuracy, context: Context, speed: Speed) -> Cost:
    return comparing_cost(result, context, speed) if context.objective.streamed else Cost()


PROBES = Recipe[Probes](units=_cuts, shares=_trainings, cost=_cost)
PROBE_ACCURACY = Recipe[ProbeAccuracy](
    units=no_units, shares=undivided(_measure), cost=_measuring_cost
)
