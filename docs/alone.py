"""A stronger oracle: a stitch fine-tuned on its own, all weights, from the pretrained anchors."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from klas.results.pair import Pair
from klas.results.result import Fit
from klas.storage.key import Key
from klas.study import FinetuningSpec

if TYPE_CHECKING:
    from klas.pipeline.context import Context


def train_alone(
    context: Context, pair: Pair, stitch: tuple[int, int], settings: FinetuningSpec, key: Key
) -> float:
    """Its accuracy on the validation samples, with normalisation statistics of its own.

    Args:
        key: under which that is kept; names the checkpoint.
    """
    from klas.measures.accuracy import stitch_outcomes
    from klas.measures.normalisation import calibrate
    from klas.measures.training import finetune
    from klas.networks.family import Family, layer_states
    from klas.pipeline.recipes.calibration import calibration_batches

    source, target = pair.names
    states = layer_states(context.read(Fit(source=source, target=target)))
    rows = np.sort(context.splits.readable_training_rows(settings.steps * settings.batch))
    family = Family(
        *(deepcopy(context.anchors[name]) for name in pair.names), {stitch: states[stitch]}
    )
    checkpoint = context.store.root / "tmp" / f"{key.digest}.safetensors"
    finetune(
        family,
        context.training_batches(pair.names, rows, settings),
        objective=context.objective,
        steps=settings.steps,
        lr=settings.lr,
        seed=context.study.seed,
        checkpoint=checkpoint,
        tick=lambda n: None,
        anchors_too=False,
    )
    calibrate(family, lambda viewer: calibration_batches(context, viewer))
    val = context.val
    outcomes = stitch_outcomes(
        family,
        lambda: context.batches(val.images, val.rows, source),
        lambda n: None,
        objective=context.objective,
    )
    checkpoint.unlink(missing_ok=True)
    return context.objective.task.metric.value(outcomes[stitch])
