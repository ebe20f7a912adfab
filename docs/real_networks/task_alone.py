"""Tier ``tuned`` without matching features first: is it the better oracle?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from klas.results.pair import Pair
from klas.results.result import Fit
from klas.selection.space import Place, name_of
from klas.storage.key import Key
from klas.study import TuningSpec

if TYPE_CHECKING:
    from klas.pipeline.context import Context


def task_alone_key(fit: str, places: Sequence[Place], tuning: TuningSpec) -> Key:
    """Accuracies of stitches whose layers learned the task alone; ``fit``: the layers' digest."""
    return Key(
        stage="tuned",
        version=1,
        inputs={
            "task_alone": fit,
            "stitches": sorted(map(list, places)),
            "tuning": tuning.model_dump(mode="json"),
        },
        label="tuned by the task alone",
    )


def tune_by_task_alone(context: Context, pair: Pair, places: Sequence[Place]) -> dict[str, float]:
    """``{"i-j": accuracy}`` on the validation samples."""
    import numpy as np

    from klas.measures.training import tune
    from klas.networks.family import Family
    from klas.pipeline.recipes.zero_shot import calibrated, measured

    settings = context.study.tuning
    fitted = context.read(Fit(source=pair.names[0], target=pair.names[1]))
    family: Family = context.family(pair.names, fitted, places)
    calibrated(family, context)
    tune(
        family,
        context.training_batches(pair.names, context.train.rows, settings),
        objective=context.objective,
        steps=settings.steps,
        lr=settings.lr,
        tick=lambda steps: None,
        matched=0.0,
        precision=context.precision,
    )
    calibrated(family, context)
    outcomes = measured(family, context, lambda samples: None)
    return {
        name_of(place): float(
            np.unpackbits(outcomes[f"{name_of(place)}.hits"], count=context.val.samples).mean()
        )
        for place in places
    }
