"""Row ``scores``: what the scores of all rivals cost beside Γ alone."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.harness import Row, Sides, seconds_of, within
from klas.measures.divergence import chunk_rows, theta
from klas.measures.sweep import Collector, Outputs, PooledFeatures, sweep
from klas.pipeline.engines.here import Here
from klas.pipeline.recipes.probes import probe_logits
from klas.pipeline.run import Pipeline
from klas.progress import Silent
from klas.storage.arrays import ArrayWriter
from klas.storage.store import Store
from klas.study import DIGITS

ALONE = "Γ alone (the features and probes that both need are counted on both sides)"


def _sides(device: torch.device) -> Iterator[Sides]:
    with TemporaryDirectory() as folder:
        store = Store(folder)
        pipeline = Pipeline(DIGITS, store, device=device.type, progress=Silent())
        pipeline.run("anchors")  # images are drawn, kernels are chosen
        shared = seconds_of(lambda: pipeline.run("probes"), device)()
        alone = seconds_of(lambda: gamma_alone(pipeline, Path(folder)), device)
        every = seconds_of(lambda: every_score(pipeline), device)

        def ours() -> float:
            for stage in ("anchors", "scores"):
                store.clear(stage)
            return shared + every()

        yield Sides(ours=ours, others={ALONE: lambda: shared + alone()})
        store.close()


def gamma_alone(pipeline: Pipeline, scratch: Path) -> None:
    """The validation pass and the matrices of Θ, as they would be without any rival."""
    context, val = pipeline.context, pipeline.context.val
    pool, pairs = context.study.probes.pool, context.pairs
    for name, anchor in context.anchors.items():
        shapes = {
            **PooledFeatures.shapes(anchor.info, context.objective, val.samples),
            **Outputs.shapes(anchor.info, context.objective, val.samples),
        }
        with ArrayWriter(scratch / f"{name}.safetensors", shapes) as out:
            collectors: list[Collector] = [
                PooledFeatures(anchor, context.objective, pool, out.append),
                Outputs(anchor, context.objective, out.append),
            ]
            loader = context.batches(val.images, val.rows, name)
            sweep(anchor, loader, collectors, lambda n: None, precision=context.precision)
            out.finish()
    for first, second in dict.fromkeys([*pairs, *((target, target) for _, target in pairs)]):
        cuts = sum(context.anchors[n].info.depth + 1 for n in (first, second))
        rows = chunk_rows(cuts, len(context.splits.class_names))
        bounds = [(k, min(k + rows, val.samples), 0) for k in range(0, val.samples, rows)]
        theta(zip(*(map(torch.stack, probe_logits(context, n, bounds)) for n in (first, second))))


def every_score(pipeline: Pipeline) -> None:
    """The same with everything that the rivals need."""
    for stage in ("anchors", "scores"):
        for step in pipeline.steps(stage):
            Here().carry_out(step.results, pipeline.context)


ROWS = (
    Row(
        name="scores",
        what="every score of every candidate, of the built-in study",
        reach={ALONE: within(1.25)},
        sides=_sides,
        sizes={"cpu": {}, "cuda": {}},
        rounds=2,
        warm_up=False,
    ),
)
