"""What all of it will take: passes counted in MACs, over what this machine does in a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from docs.real_networks.adapt import BATCH, steps_of
from docs.real_networks.studies import (
    ALONE_STEPS,
    ALONE_STITCHES,
    CIFAR_NETWORKS,
    CIFAR_PAIRS,
    SEEDS,
    TINY_PAIR,
    Zoos,
)
from klas.study import METRICS, Study

if TYPE_CHECKING:
    from klas.pipeline.context import Context

BACKWARD = 2.0  # cost of a backward pass to every weight, in forward passes
TO_THE_LAYER = 1.6  # to the stitch layer alone
CALIBRATION = 1_000  # images for a stitch's normalisation statistics
RACE = 3  # a race measures about as many members more as it keeps
CIFAR_IMAGES = 50_000


def plan(zoos: Zoos) -> dict[str, float]:
    """Seconds of every stage, two parts (or workers) at a time."""
    from klas.pipeline.context import Context
    from klas.storage.store import Store

    store = Store(zoos.work.parent)
    try:
        cifar = Context(zoos.cifar(published=True), store, allow_code=True)
        tiny = Context(zoos.tiny(), store, allow_code=True)
        seconds = {
            "adapt": _adapting(cifar),
            "cifar10": _choosing(cifar, CIFAR_PAIRS),
            "alone": _alone(cifar),
            "joint": len(SEEDS) * sum(_joint(cifar, pair) for pair in CIFAR_PAIRS),
            "tinyimagenet": _choosing(tiny, [tuple(pair) for pair in tiny.pairs]),
            "tinyimagenet joint": _joint(tiny, TINY_PAIR),
        }
    finally:
        store.close()
    return {stage: each / 2 for stage, each in seconds.items()}


def _seconds_per_mac(context: Context) -> float:
    """Of the costliest network's forward pass."""
    from klas.pipeline.speed import speed_of

    name = max(context.costs, key=lambda n: context.costs[n].total_macs)
    return speed_of(context, 1).forward[name] / context.costs[name].total_macs


def _adapting(context: Context) -> float:
    images = BATCH * steps_of(CIFAR_IMAGES) * (1 + BACKWARD)
    macs = sum(context.costs[name].total_macs for name in CIFAR_NETWORKS)
    return images * macs * _seconds_per_mac(context)


def _choosing(
    context: Context, pairs: list[tuple[str, str]] | tuple[tuple[str, str], ...]
) -> float:
    """Sweeps, ``zero_shot`` and ``tuned``."""
    study, macs = context.study, 0.0
    data, tuning = study.data, study.tuning
    sweeps = data.train_samples + data.val_samples + data.test_samples
    macs += sweeps * sum(cost.total_macs for cost in context.costs.values())
    images = tuning.steps * tuning.batch * (1 + TO_THE_LAYER)
    images += 2 * data.val_samples + 3 * CALIBRATION
    for source, target in pairs:
        rests = sum(context.costs[target].back(j).macs for _, j in context.places(source, target))
        macs += images * rests
    return macs * _seconds_per_mac(context)


def _member_macs(context: Context, pair: tuple[str, str]) -> float:
    source, target = pair
    costs = [context.stitch_cost(source, i, target, j).macs for i, j in context.places(*pair)]
    return float(np.mean(costs))


def _alone(context: Context) -> float:
    study = context.study
    images = ALONE_STEPS * study.finetuning.batch * (1 + BACKWARD)
    images += study.data.val_samples + CALIBRATION
    return (
        ALONE_STITCHES * images * _member_macs(context, CIFAR_PAIRS[1]) * _seconds_per_mac(context)
    )


def _joint(context: Context, pair: tuple[str, str]) -> float:
    """All methods of a pair, at all steps and at a quarter of them, and the anchors alone."""
    study = context.study
    images = 1.25 * len(METRICS) * _training_images(study)
    images += 2 * _training_images(study)
    members = study.selection.buckets
    measured = study.data.val_samples + study.data.test_samples + CALIBRATION
    images += 2 * (len(METRICS) + RACE) * members * measured
    return images * _member_macs(context, pair) * _seconds_per_mac(context)


def _training_images(study: Study) -> float:
    return study.finetuning.steps * study.finetuning.batch * (1 + BACKWARD)
