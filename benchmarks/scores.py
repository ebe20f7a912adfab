"""What the rivals' scores cost beside Γ: ``python benchmarks/scores.py``.

Both sides run in this process on the same images, one after the other, twice; the lower time of
each counts. What both need (features of the training images, and probes) is timed once.
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
from klas.pipeline.recipes.probes import probe_logits
from klas.pipeline.run import Pipeline
from klas.progress import Silent
from klas.storage.arrays import ArrayWriter
from klas.storage.store import Store
from klas.study import DIGITS, load_study

ROUNDS = 2
LIMIT = 1.25  # all scores may take at most so many times as long as Γ alone


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of some work, the device's work included."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def gamma_alone(pipeline: Pipeline, scratch: Path) -> None:
    """The validation pass and the matrices of Θ, as they would be without any rival."""
    context, val = pipeline.context, pipeline.context.val
    pool, pairs = context.study.probes.pool, context.pairs
    for name, anchor in context.anchors.items():
        shapes = {
            **PooledFeatures.shapes(anchor.info, val.samples),
            **Outputs.shapes(anchor.info, val.samples),
        }
        with ArrayWriter(scratch / f"{name}.safetensors", shapes) as out:
            collectors = [
                PooledFeatures(anchor, context.objective, pool, out.append),
                Outputs(anchor, out.append),
            ]
            loader = context.batches(val.images, val.rows, name)
            sweep(anchor, loader, collectors, lambda n: None, precision=context.precision)
            out.finish()
    for first, second in dict.fromkeys([*pairs, *((target, target) for _, target in pairs)]):
        cuts = sum(context.anchors[n].info.depth + 1 for n in (first, second))
        rows = chunk_rows(cuts, len(context.splits.class_names))
        bounds = [(k, min(k + rows, val.samples), 0) for k in range(0, val.samples, rows)]
        theta(zip(probe_logits(context, first, bounds), probe_logits(context, second, bounds)))


def every_score(pipeline: Pipeline) -> None:
    """The same with everything that the rivals need."""
    for stage in ("anchors", "scores"):
        for step in pipeline.steps(stage):
            pipeline.engine.carry_out(step.results, pipeline.context)


def main() -> int:
    """Measure and print a row of a table; exit status 1 if the limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", help="study file; the digits study without")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    study = load_study(options.study) if options.study else DIGITS
    with TemporaryDirectory() as folder:
        store = Store(folder)
        pipeline = Pipeline(study, store, device=options.device, progress=Silent())
        device = pipeline.context.device
        pipeline.run("anchors")  # warm-up: images are drawn, kernels are chosen
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
