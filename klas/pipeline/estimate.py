"""What a run will cost on this machine, before the work begins.

The machine's speed is measured on a small batch; from it each recipe says what its result costs
(:class:`klas.pipeline.recipes.recipe.Recipe`), and from that the order of work how long all takes.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from klas.errors import StoreError
from klas.memory import peak_memory_bytes
from klas.pipeline.engines.choice import workers_for
from klas.pipeline.engines.crew import work_of
from klas.pipeline.engines.engine import missing
from klas.pipeline.engines.schedule import makespan
from klas.pipeline.recipes.registry import recipe_of
from klas.pipeline.run import Pipeline
from klas.results.accuracies import Racing, full_validation
from klas.results.pair import Pair
from klas.results.result import Finetuned, Result
from klas.results.trainings import method_trainings
from klas.study import Stage, Tier


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the missing work takes: seconds, bytes on disk, bytes of memory at the peak.

    Memory is this process's, the device's and all workers' together. Features are on disk.

    Attributes:
        workers: how many results are made side by side.
    """

    seconds: float
    disk_bytes: int
    memory_bytes: int
    workers: int = 1


def estimate(pipeline: Pipeline, until: Stage) -> Estimate:
    """Time a small batch of every anchor and of the loader, and add up the missing work.

    If nothing is missing, nothing is timed, so that a repeated run starts at once.

    Raises:
        StoreError: the results will not fit on the disk.
    """
    context = pipeline.context
    absent = list(missing(pipeline.results(until), context))
    if not absent:
        return Estimate(seconds=0.0, disk_bytes=0, memory_bytes=peak_memory_bytes())
    workers, speed = workers_for(pipeline.engine, context, absent)
    costs = [recipe_of(result).cost(result, context, speed) for result in absent]
    disk, root = sum(4 * cost.values for cost in costs), context.store.root
    free = shutil.disk_usage(root).free
    if disk > free:
        raise StoreError(
            f"{root}: the results take about {disk / 1e6:,.1f} MB, but "
            f"{free / 1e6:,.1f} MB are free; free some room (`klas cache clear`), take fewer "
            "samples, or name another folder with --cache-dir or KLAS_CACHE_DIR"
        )
    own, most = peak_memory_bytes(), max(cost.memory_bytes for cost in costs)
    return Estimate(
        seconds=makespan(work_of(absent, context, speed), workers),
        disk_bytes=disk,
        memory_bytes=own + most if workers == 1 else own + workers * (own + most),
        workers=workers,
    )


def comparison_seconds(pipeline: Pipeline, pair: Pair) -> tuple[int, float]:
    """How many trainings of a pair's comparison are missing, and about how long they take."""
    trainings = method_trainings(pair, pipeline.context.study)
    return training_seconds(pipeline, [training.result for training in trainings])


def training_seconds(pipeline: Pipeline, trainings: Sequence[Finetuned]) -> tuple[int, float]:
    """How many of these joint trainings are missing, and about how long they take."""
    context = pipeline.context
    absent = [t for t in dict.fromkeys(trainings) if not context.has(t)]
    results = [result for t in absent for result in pipeline.training_results(t)]
    return len(absent), _seconds(pipeline, list(missing(results, context)))


def full_val_seconds(
    pipeline: Pipeline, pair: Pair, chosen: NDArray[np.bool_], tier: Tier, racing: Racing = None
) -> float:
    """About how long the chosen stitches take on every validation image."""
    wanted = full_validation(pair, chosen, pipeline.context.study, tier, racing)
    return _seconds(pipeline, list(missing([wanted], pipeline.context)))


def _seconds(pipeline: Pipeline, absent: Sequence[Result]) -> float:
    """How long missing results take the pipeline's engine."""
    if not absent:
        return 0.0
    workers, speed = workers_for(pipeline.engine, pipeline.context, absent)
    return makespan(work_of(absent, pipeline.context, speed), workers)
