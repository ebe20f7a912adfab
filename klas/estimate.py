"""What a run will cost on this machine: from a short measurement, before the work begins."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from klas.data import FORWARD_BATCH
from klas.pipeline import Pipeline
from klas.study import STAGES, Stage

PROBE_PASSES = 150  # evaluations that L-BFGS needs to converge, about
BACKWARD = 1.6  # cost of a backward pass to the stitch layer, in forward passes
PROCESS_BYTES = 600e6  # an interpreter with torch and timm
PROBE_FRACTION = 5  # a probing batch is this part of a forward batch


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of the work that is not cached yet: seconds, bytes on disk, bytes of memory at the peak."""

    seconds: float
    disk_bytes: int
    memory_bytes: int


@torch.inference_mode()
def estimate(pipeline: Pipeline, until: Stage) -> Estimate:
    """Time a small batch of every anchor and of the loader, and add up the missing work."""
    study, anchors = pipeline.study, pipeline.anchors
    per_image = {name: _seconds_per_image(pipeline, name) for name in anchors}
    loading = _loading_seconds(pipeline)
    macs_per_second = max(pipeline.costs[n].total_macs / s for n, s in per_image.items())
    width = {n: sum(lay.channels for lay in a.info.layouts) for n, a in anchors.items()}
    classes = next(iter(anchors.values())).info.classes
    seconds, disk, held = 0.0, 0.0, 0.0

    for stage in STAGES[: STAGES.index(until) + 1]:
        for name, _, tasks in pipeline.tasks(stage):
            owners = pipeline.pairs if stage in ("zero_shot", "tuned") else list(anchors)
            for task, owner in zip(tasks, owners, strict=False):
                if pipeline.store.has(task.key):
                    continue
                if name in ("anchors", "features"):
                    seconds += task.units * (per_image[owner] + loading)
                    disk += task.units * width[owner] * 4
                    held = max(held, 3 * task.units * width[owner] * 4)
                elif name == "probes":
                    samples = study.data.train_samples
                    work = 3 * samples * width[owner] * classes * PROBE_PASSES
                    seconds += work / macs_per_second
                elif name in ("zero_shot", "tuned"):
                    source, target = owner
                    tails = _tail_shares(pipeline, source, target) * per_image[target]
                    if name == "zero_shot":
                        images, weight = len(pipeline.val_rows), 1.0
                    else:
                        images = study.tuning.steps * study.tuning.batch
                        weight = 1 + BACKWARD
                        seconds += len(pipeline.val_rows) * float(tails.sum())
                    seconds += images * (loading + per_image[source] + weight * float(tails.sum()))
                    values = sum(
                        anchors[source].info.layouts[i].channels
                        * anchors[target].info.layouts[j].channels
                        for (i, j), _, _ in pipeline.candidates(source, target)
                    )
                    disk += 4 * values
                    held = max(held, 16 * values)
    return Estimate(seconds=seconds, disk_bytes=int(disk), memory_bytes=int(PROCESS_BYTES + held))


def _seconds_per_image(pipeline: Pipeline, name: str) -> float:
    anchor = pipeline.anchors[name]
    batch = FORWARD_BATCH // PROBE_FRACTION
    images = torch.zeros(batch, *anchor.info.transform.input_size, device=pipeline.device)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        anchor(images).sum().item()  # the item waits for the device
        times.append(time.perf_counter() - start)
    return min(times) / batch


def _loading_seconds(pipeline: Pipeline) -> float:
    rows = pipeline.val_rows[: FORWARD_BATCH // PROBE_FRACTION]
    first = next(iter(pipeline.anchors))
    start = time.perf_counter()
    for _ in pipeline.batches(pipeline.val, rows, first):
        pass
    return (time.perf_counter() - start) / max(len(rows), 1)


def _tail_shares(pipeline: Pipeline, source: str, target: str) -> np.ndarray:
    """(N,) each candidate's share of the target that runs after the stitch."""
    cost = pipeline.costs[target]
    return np.array(
        [cost.back(j)[0] / cost.total_macs for (_, j), _, _ in pipeline.candidates(source, target)]
    )
