"""What the rivals' scores cost beside Γ: ``python benchmarks/scores.py``.

Both sides run in this process on the same images, one after the other, twice; the lower time of
each counts. What both need (features of the training images, probes) is timed once.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from klas.measures.divergence import chunk_rows, theta
from klas.measures.sweep import Outputs, PooledFeatures, sweep
from klas.pipeline.run import Pipeline
from klas.progress import Silent
from klas.storage.arrays import ArrayWriter
from klas.storage.store import Store
from klas.study import DIGITS, load_study

ROUNDS = 2
LIMIT = 1.25  # of the issue: all scores in at most so many times what Γ alone takes


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of some work, the device's included."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def gamma_alone(pipeline: Pipeline, scratch: Path) -> None:
    """The validation pass and the matrices as they would be without any rival."""
    bench, stages = pipeline.bench, pipeline.stages
    for name, anchor in bench.anchors.items():
        shapes = {
            **PooledFeatures.shapes(anchor.info, len(bench.val_rows)),
            **Outputs.shapes(anchor.info, len(bench.val_rows)),
        }
        with ArrayWriter(scratch / f"{name}.safetensors", shapes) as out:
            collectors = [
                PooledFeatures(anchor, bench.study.probes.pool, out.append),
                Outputs(anchor, out.append),
            ]
            loader = bench.batches(bench.val, bench.val_rows, name)
            sweep(anchor, loader, collectors, lambda n: None, precision=bench.precision)
            out.finish()
    for first, second in dict.fromkeys([*bench.pairs, *((t, t) for _, t in bench.pairs)]):
        cuts = sum(bench.anchors[n].info.depth + 1 for n in (first, second))
        rows = chunk_rows(cuts, bench.classes)
        count = len(bench.val_rows)
        bounds = [(k, min(k + rows, count), 0) for k in range(0, count, rows)]
        theta(zip(stages.probe_logits(first, bounds), stages.probe_logits(second, bounds)))


def every_score(pipeline: Pipeline) -> None:
    """The same with everything that the rivals need."""
    stages = pipeline.stages
    for stage in ("anchors", "scores"):
        for _, _, tasks in stages.tasks(stage):
            for task in tasks:
                pipeline.store.compute(task.key, lambda t=task: t.make(lambda n: None))


def main() -> int:
    """Measure and print a row of a table; exit status 1 where the limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", help="study file; the digits study without")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    study = load_study(options.study) if options.study else DIGITS
    with TemporaryDirectory() as folder:
        store = Store(folder)
        pipeline = Pipeline(study, store, device=options.device, progress=Silent())
        device = pipeline.bench.device
        pipeline.run("anchors")  # warm: pictures are drawn, kernels chosen
        shared = seconds(lambda: pipeline.run("probes"), device)
        alone, every = [], []
        for _ in range(ROUNDS):
            alone.append(seconds(lambda: gamma_alone(pipeline, Path(folder)), device))
            for stage in ("anchors", "scores"):
                store.clear(stage)
            every.append(seconds(lambda: every_score(pipeline), device))
        store.close()
    ratio = (shared + min(every)) / (shared + min(alone))
    print("| study | device | features and probes (s) | Γ alone (s) | every score (s) | ratio |")
    print("|---|---|--:|--:|--:|--:|")
    print(
        f"| {study.name} | {device} | {shared:.1f} | {min(alone):.1f} | {min(every):.1f} "
        f"| {ratio:.2f} |"
    )
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
