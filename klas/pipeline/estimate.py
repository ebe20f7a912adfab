"""What a run will cost on this machine, before the work begins.

The machine's speed is measured on a small batch; from it each recipe says what its result costs
(:class:`klas.pipeline.recipes.recipe.Recipe`).
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from klas.errors import StoreError
from klas.memory import peak_memory_bytes
from klas.networks.device import autocast
from klas.pipeline.context import Context
from klas.pipeline.engines import missing
from klas.pipeline.recipes.recipe import Cost, Speed
from klas.pipeline.recipes.registry import recipe_of
from klas.pipeline.run import Pipeline
from klas.results.accuracies import full_validation
from klas.results.pair import Pair
from klas.results.plan import stages_until
from klas.results.result import Finetuned, Result
from klas.results.trainings import method_trainings
from klas.study import Stage, Tier

TIMED_IMAGES = 50  # in the batch that is timed, where so many fit


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the missing work takes: seconds, bytes on disk, bytes of memory at the peak.

    Memory is this process's and the device's together. Features are on disk.
    """

    seconds: float
    disk_bytes: int
    memory_bytes: int


def estimate(pipeline: Pipeline, until: Stage) -> Estimate:
    """Time a small batch of every anchor and of the loader, and add up the missing work.

    If nothing is missing, nothing is timed, so that a repeated run starts at once.

    Raises:
        StoreError: the results will not fit on the disk.
    """
    steps = (step for stage in stages_until(until) for step in pipeline.steps(stage))
    costs = _costs([result for step in steps for result in step.results], pipeline.context)
    if not costs:
        return Estimate(seconds=0.0, disk_bytes=0, memory_bytes=peak_memory_bytes())
    disk, root = sum(4 * cost.values for cost in costs), pipeline.context.store.root
    free = shutil.disk_usage(root).free
    if disk > free:
        raise StoreError(
            f"{root}: the results take about {disk / 1e6:,.1f} MB, but "
            f"{free / 1e6:,.1f} MB are free; free some room (`klas cache clear`), take fewer "
            "samples, or name another folder with --cache-dir or KLAS_CACHE_DIR"
        )
    return Estimate(
        seconds=sum(cost.seconds for cost in costs),
        disk_bytes=disk,
        memory_bytes=peak_memory_bytes() + max(cost.memory_bytes for cost in costs),
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
    return len(absent), sum(cost.seconds for cost in _costs(results, context))


def full_val_seconds(
    pipeline: Pipeline, pair: Pair, chosen: NDArray[np.bool_], tier: Tier
) -> float:
    """About how long the chosen stitches take on every validation image."""
    wanted = full_validation(pair, chosen, pipeline.context.study, tier)
    return sum(cost.seconds for cost in _costs([wanted], pipeline.context))


def _costs(results: Sequence[Result], context: Context) -> list[Cost]:
    """The costs of what is missing among some results and all that they need."""
    absent = list(missing(results, context))
    if not absent:
        return []
    forward = {name: _seconds_per_image(context, name) for name in context.anchors}
    speed = Speed(forward=forward, loading=_loading_seconds(context))
    return [recipe_of(result).cost(result, context, speed) for result in absent]


def _seconds_per_image(context: Context, name: str) -> float:
    seconds = context.batch.retrying(lambda tick: _timed(context, name), lambda n: None)
    return float(seconds)


@torch.inference_mode()  # only here: networks that are opened inside it can't be traced
def _timed(context: Context, name: str) -> float:
    info = context.anchors[name].info
    batch = min(TIMED_IMAGES, context.batch.size)
    images = torch.zeros(batch, *info.transform.input_size, device=context.device)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with autocast(context.device, context.precision):
            outputs = context.anchors[name](images)
        outputs.sum().item()  # waits for the device
        times.append(time.perf_counter() - start)
    return min(times) / batch


def _loading_seconds(context: Context) -> float:
    val, first = context.val, next(iter(context.anchors))
    rows = val.rows[:TIMED_IMAGES]
    times = []
    for _ in range(2):  # the first pass may have to find, or draw, the pictures
        start = time.perf_counter()
        for _ in context.batches(val.images, rows, first):
            pass
        times.append(time.perf_counter() - start)
    return min(times) / max(len(rows), 1)
