"""What a run will cost on this machine: from a short measurement, before the work begins."""

import time
from dataclasses import dataclass

import torch

from klas.data import FORWARD_BATCH
from klas.jobs import peak_memory_bytes
from klas.pipeline import Pipeline
from klas.stages import Task
from klas.study import STAGES, Stage

PROBE_PASSES = 150  # evaluations that L-BFGS needs to converge, about
BACKWARD = 1.6  # cost of a backward pass to the stitch layer, in forward passes
PROBE_FRACTION = 5  # a probing batch is this part of a forward batch


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of the work that is not cached yet: seconds, bytes on disk, bytes of memory at the peak."""

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
    forward = {name: _seconds_per_image(pipeline, name) for name in pipeline.bench.anchors}
    speed = _Speed(forward=forward, loading=_loading_seconds(pipeline))
    seconds = disk = held = 0.0
    for name, task in missing:
        seconds += _seconds(pipeline, name, task, speed)
        kept = 4 * _values(pipeline, name, task)
        disk += kept
        # Stored bytes are made from the arrays; a layer being tuned has a gradient and two
        # moments beside it.
        held = max(held, 4 * kept)
    memory = peak_memory_bytes() + held
    return Estimate(seconds=seconds, disk_bytes=int(disk), memory_bytes=int(memory))


def _seconds(pipeline: Pipeline, name: str, task: Task, speed: _Speed) -> float:
    if name in ("anchors", "features"):
        return task.units * (speed.forward[task.anchors[0]] + speed.loading)
    if name == "probes":
        macs = 3 * len(pipeline.bench.train_rows) * _width(pipeline, task.anchors[0])
        fastest = max(pipeline.bench.costs[n].total_macs / s for n, s in speed.forward.items())
        return PROBE_PASSES * macs * pipeline.bench.anchors[task.anchors[0]].info.classes / fastest
    if name not in ("zero_shot", "tuned"):
        return 0.0
    source, target = task.anchors
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
    if name in ("anchors", "features"):
        return task.units * _width(pipeline, task.anchors[0])
    if name not in ("zero_shot", "tuned"):
        return 0
    have, want = (pipeline.bench.anchors[a].info.layouts for a in task.anchors)
    stitches = pipeline.bench.candidates(*task.anchors)
    return sum(have[i].channels * want[j].channels for (i, j), _, _ in stitches)


def _width(pipeline: Pipeline, name: str) -> int:
    return sum(layout.channels for layout in pipeline.bench.anchors[name].info.layouts)


def _seconds_per_image(pipeline: Pipeline, name: str) -> float:
    anchor = pipeline.bench.anchors[name]
    batch = FORWARD_BATCH // PROBE_FRACTION
    images = torch.zeros(batch, *anchor.info.transform.input_size, device=pipeline.bench.device)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        anchor(images).sum().item()  # the item waits for the device
        times.append(time.perf_counter() - start)
    return min(times) / batch


def _loading_seconds(pipeline: Pipeline) -> float:
    rows = pipeline.bench.val_rows[: FORWARD_BATCH // PROBE_FRACTION]
    first = next(iter(pipeline.bench.anchors))
    times = []
    for _ in range(2):  # the first pass may have to find, or draw, the pictures
        start = time.perf_counter()
        for _ in pipeline.bench.batches(pipeline.bench.val, rows, first):
            pass
        times.append(time.perf_counter() - start)
    return min(times) / max(len(rows), 1)
