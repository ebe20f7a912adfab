"""What a run will cost on this machine: from a short measurement, before the work begins."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from klas.errors import StoreError
from klas.measures.cka import CHUNK, TRIANGLE
from klas.measures.divergence import CHUNK_BYTES as DIVERGENCE_BYTES
from klas.measures.probes import CHUNK_BYTES as PROBE_BYTES
from klas.memory import peak_memory_bytes
from klas.networks.batch_size import image_bytes, memory_budget_bytes
from klas.networks.device import autocast
from klas.pipeline.finetuning import method_trainings, training_key
from klas.pipeline.run import Pipeline
from klas.pipeline.stages import Task
from klas.results.pair import Pair, full_val_pair_key
from klas.study import STAGES, FinetuningSpec, Stage, Tier

PROBE_PASSES = 150  # evaluations that L-BFGS needs to converge, about
BACKWARD = 1.6  # cost of a backward pass to the stitch layer, in forward passes
FULL_BACKWARD = 2.0  # cost of a backward pass to every weight, likewise
TIMED_IMAGES = 50  # in the batch that is timed, where so many fit
CHUNKS_HELD = 6  # arrays of a chunk's size that a probe's training, or Θ, has at one time
FITTING = 2  # products of activations, in forward passes beside the anchors' own
HISTORY = 40  # earlier steps and gradients that L-BFGS remembers


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of the work that is not cached yet: seconds, bytes on disk, bytes of memory at the peak.

    Memory is this process's and the device's together. Features lie on the disk.
    """

    seconds: float
    disk_bytes: int
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Speed:
    """What was measured: seconds for one image, by each anchor and by the loader."""

    forward: dict[str, float]
    loading: float


@torch.inference_mode()
def estimate(pipeline: Pipeline, until: Stage) -> Estimate:
    """Time a small batch of every anchor and of the loader, and add up the missing work.

    Where nothing is missing nothing is timed: a repeated run is all start-up.

    Raises:
        StoreError: the results will not fit on the disk.
    """
    missing = [
        (name, task)
        for stage in STAGES[: STAGES.index(until) + 1]
        for name, _, tasks in pipeline.stages.tasks(stage)
        for task in tasks
        if not pipeline.store.has(task.key)
    ]
    if not missing:
        return Estimate(seconds=0.0, disk_bytes=0, memory_bytes=peak_memory_bytes())
    disk = [4 * _values(pipeline, name, task) for name, task in missing]
    free = shutil.disk_usage(pipeline.store.root).free
    if sum(disk) > free:
        raise StoreError(
            f"{pipeline.store.root}: the results take about {sum(disk) / 1e6:,.1f} MB, but "
            f"{free / 1e6:,.1f} MB are free; free some room (`klas cache clear`), take fewer "
            "samples, or name another folder with --cache-dir or KLAS_CACHE_DIR"
        )
    forward = {name: _seconds_per_image(pipeline, name) for name in pipeline.bench.anchors}
    speed = _Speed(forward=forward, loading=_loading_seconds(pipeline))
    seconds = sum(_seconds(pipeline, name, task, speed) for name, task in missing)
    held = max(_held_bytes(pipeline, name, task) for name, task in missing)
    memory = peak_memory_bytes() + held
    return Estimate(seconds=seconds, disk_bytes=sum(disk), memory_bytes=memory)


def comparison_seconds(pipeline: Pipeline, pair: Pair) -> tuple[int, float]:
    """How many trainings of a pair's comparison are missing, and about how long they take."""
    wanted = [(chosen, settings) for _, chosen, settings in method_trainings(pair, pipeline.study)]
    return training_seconds(pipeline, pair, wanted)


def training_seconds(
    pipeline: Pipeline, pair: Pair, wanted: Sequence[tuple[NDArray[np.bool_], FinetuningSpec]]
) -> tuple[int, float]:
    """How many of these joint trainings are missing, and about how long they take.

    Args:
        wanted: (N,) which candidates are trained, and the settings.
    """
    costs = [pipeline.bench.costs[name].total_macs for name in pair.names]
    rate = _macs_per_second(pipeline, pair)
    missing: dict[str, float] = {}
    for chosen, settings in wanted:
        key = training_key(pair, chosen, pipeline.study, settings)
        if not pipeline.store.has(key):
            macs = [*pair.macs[chosen], *costs]
            member = sum(macs) / len(macs) / rate
            images = settings.steps * settings.batch
            measured = len(pipeline.bench.val_rows) * (1 + (pipeline.bench.test is not None))
            training = images * member * (1 + FULL_BACKWARD)
            missing[key.digest] = training + measured * sum(macs) / rate
    return len(missing), sum(missing.values())


def full_val_seconds(
    pipeline: Pipeline, pair: Pair, chosen: NDArray[np.bool_], tier: Tier
) -> float:
    """About how long the chosen stitches take on every validation image."""
    if pipeline.store.has(full_val_pair_key(pair, chosen, pipeline.study, tier)):
        return 0.0
    network = float(pair.macs[chosen].sum()) / _macs_per_second(pipeline, pair)
    return len(pipeline.bench.val.labels) * (_loading_seconds(pipeline) + network)


def _macs_per_second(pipeline: Pipeline, pair: Pair) -> float:
    costs = [pipeline.bench.costs[name].total_macs for name in pair.names]
    return sum(costs) / sum(_seconds_per_image(pipeline, name) for name in pair.names)


def _seconds(pipeline: Pipeline, name: str, task: Task, speed: _Speed) -> float:
    if name in ("anchors", "features"):
        return task.units * (speed.forward[task.anchors[0]] + speed.loading)
    if name == "probes":
        macs = 3 * len(pipeline.bench.train_rows) * _width(pipeline, task.anchors[0])
        fastest = max(pipeline.bench.costs[n].total_macs / s for n, s in speed.forward.items())
        return PROBE_PASSES * macs * pipeline.bench.classes / fastest
    if name == "scores":
        return 0.0
    source, target = task.anchors
    if name == "fit":
        both = 2 * speed.loading + speed.forward[source] + speed.forward[target]
        return float((task.units + len(pipeline.bench.fit_rows)) * both * FITTING)
    cost, stitches = pipeline.bench.costs[target], pipeline.bench.candidates(source, target)
    tails = [cost.back(j)[0] / cost.total_macs for (_, j), _, _ in stitches]
    front, back = speed.loading + speed.forward[source], sum(tails) * speed.forward[target]
    measuring = len(pipeline.bench.val_rows) * (front + back)
    if name == "zero_shot":
        return measuring
    images = pipeline.study.tuning.steps * pipeline.study.tuning.batch
    return measuring + images * (front + (1 + BACKWARD) * back)


def _values(pipeline: Pipeline, name: str, task: Task) -> int:
    """How many numbers a task leaves on disk, but for the small ones."""
    anchor = pipeline.bench.anchors[task.anchors[0]].info
    if name == "features":
        return task.units * _width(pipeline, task.anchors[0])
    if name == "anchors":
        grams = TRIANGLE / CHUNK * (anchor.depth + 1)
        return int(task.units * (_width(pipeline, task.anchors[0]) + anchor.classes + grams))
    if name == "probes":
        return pipeline.bench.classes * _width(pipeline, task.anchors[0])
    return _layer_values(pipeline, task) if name in ("fit", "tuned") else 0


def _layer_values(pipeline: Pipeline, task: Task) -> int:
    """How many numbers a pair's stitch layers have."""
    have, want = (pipeline.bench.anchors[a].info.layouts for a in task.anchors)
    stitches = pipeline.bench.candidates(*task.anchors)
    return int(sum(have[i].channels * want[j].channels for (i, j), _, _ in stitches))


def _held_bytes(pipeline: Pipeline, name: str, task: Task) -> int:
    """What a task holds at its peak; it does not grow with the number of samples."""
    bench = pipeline.bench
    anchors = [bench.anchors[anchor].info for anchor in task.anchors]
    if name == "probes":
        widest = max(layout.channels for layout in anchors[0].layouts)
        features = 4 * widest * len(bench.train_rows)
        kept = features if features <= memory_budget_bytes(bench.device) else 0
        return kept + 4 * HISTORY * widest * bench.classes + CHUNKS_HELD * PROBE_BYTES
    if name == "scores":
        return CHUNKS_HELD * DIVERGENCE_BYTES
    image = image_bytes(*(anchor.layouts for anchor in anchors))
    # A layer being tuned has a gradient and two moments beside it.
    layers = 0 if name in ("anchors", "features") else 4 * 4 * _layer_values(pipeline, task)
    return bench.batch.size * image + layers


def _width(pipeline: Pipeline, name: str) -> int:
    return sum(layout.channels for layout in pipeline.bench.anchors[name].info.layouts)


def _seconds_per_image(pipeline: Pipeline, name: str) -> float:
    timed = pipeline.bench.batch.retrying(lambda tick: _timed(pipeline, name), lambda n: None)
    return float(timed)


def _timed(pipeline: Pipeline, name: str) -> float:
    bench, info = pipeline.bench, pipeline.bench.anchors[name].info
    batch = min(TIMED_IMAGES, bench.batch.size)
    images = torch.zeros(batch, *info.transform.input_size, device=bench.device)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with autocast(bench.device, bench.precision):
            logits = bench.anchors[name](images)
        logits.sum().item()  # waits for the device
        times.append(time.perf_counter() - start)
    return min(times) / batch


def _loading_seconds(pipeline: Pipeline) -> float:
    rows = pipeline.bench.val_rows[:TIMED_IMAGES]
    first = next(iter(pipeline.bench.anchors))
    times = []
    for _ in range(2):  # the first pass may have to find, or draw, the pictures
        start = time.perf_counter()
        for _ in pipeline.bench.batches(pipeline.bench.val, rows, first):
            pass
        times.append(time.perf_counter() - start)
    return min(times) / max(len(rows), 1)
