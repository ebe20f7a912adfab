"""Rows ``sweeps`` and ``anchors``: what collectors add to bare forward passes, and k anchors."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from benchmarks.harness import Measure, Row, Sides, seconds_of, within
from benchmarks.networks import anchor, images
from klas.measures.cka import GramMatrices
from klas.measures.least_squares import fit_stitch_layers
from klas.measures.sweep import Collector, Outputs, PooledFeatures, sweep
from klas.networks.anchor import Anchor
from klas.networks.device import autocast, forward_precision
from klas.pipeline.engines.here import Here
from klas.pipeline.run import Pipeline
from klas.results.result import Features, Validation
from klas.selection.space import candidates
from klas.storage.arrays import ArrayWriter
from klas.storage.store import Store
from klas.study import DIGITS, AnchorSpec, Stage, change
from klas.tasks.classification import Classification

BARE = "bare forward passes of both anchors on the same batches"
FIT_IMAGES = 100  # as SN-Net
DEITS = ("deit_tiny_patch16_224", "deit_small_patch16_224")
MODEL = "digits_vit_small"
SWEEPS: tuple[Stage, ...] = ("anchors", "probes")


@torch.inference_mode()
def bare(network: Anchor, count: int, batch: int, device: torch.device) -> None:
    """Forward passes whose results nobody keeps."""
    precision = forward_precision(device)
    for view, _ in images(count, batch, device):
        with autocast(device, precision):
            network.network(view)


def train_sweep(network: Anchor, count: int, batch: int, device: torch.device, path: Path) -> None:
    """The sweep over training images, as the pipeline makes it: features go to the disk."""
    with ArrayWriter(path, PooledFeatures.shapes(network.info, Classification(), count)) as out:
        features = PooledFeatures(network, Classification(), "mean", out.append)
        loader = images(count, batch, device, size=network.info.images.input_size)
        sweep(network, loader, [features], _no_tick, precision=forward_precision(device))
        out.finish()


def val_sweep(network: Anchor, count: int, batch: int, device: torch.device, path: Path) -> None:
    """The sweep over validation images with all of its collectors."""
    shapes = {
        **PooledFeatures.shapes(network.info, Classification(), count),
        **GramMatrices.shapes(network.info, count),
        **Outputs.shapes(network.info, Classification(), count),
    }
    with ArrayWriter(path, shapes) as out:
        collectors: list[Collector] = [
            PooledFeatures(network, Classification(), "mean", out.append),
            GramMatrices(network, count, out.append),
            Outputs(network, Classification(), out.append),
        ]
        loader = images(count, batch, device, size=network.info.images.input_size)
        sweep(network, loader, collectors, _no_tick, precision=forward_precision(device))
        out.finish()


def _no_tick(count: int) -> None:
    """Nobody watches."""


def _sweeps(
    device: torch.device, *, models: tuple[str, str], train: int, val: int, batch: int
) -> Iterator[Sides]:
    source, target = anchors = [anchor(model, device) for model in models]
    places = [p for p, _, _ in candidates(source.info.stages, target.info.stages, "paper")]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays"

        def ours() -> None:
            for network in anchors:
                train_sweep(network, train, batch, device, path)
                val_sweep(network, val, batch, device, path)
            fit = images(FIT_IMAGES, batch, device, views=2)
            fit_stitch_layers(source, target, fit, places, precision=forward_precision(device))

        def forward() -> None:
            for network in anchors:
                for count in (train, val, FIT_IMAGES):
                    bare(network, count, batch, device)

        yield Sides(ours=seconds_of(ours, device), others={BARE: seconds_of(forward, device)})


def _anchors(device: torch.device, *, counts: tuple[int, ...], samples: int) -> Iterator[Sides]:
    """The sweeps of a study of k anchors, for each anchor; all have weights of their own."""
    with tempfile.TemporaryDirectory() as folder:
        specs = []
        for k in range(max(counts)):
            torch.manual_seed(k)
            weights = Path(folder) / f"{k}.safetensors"
            save_file(timm.create_model(MODEL).state_dict(), weights)
            specs.append(AnchorSpec(name=f"anchor {k}", model=MODEL, weights=str(weights)))

        def each_of(count: int) -> Measure:
            study = DIGITS.model_copy(update={"anchors": tuple(specs[:count])})
            study = change(study, "data", train_samples=samples, val_samples=samples)

            def measure() -> float:
                with tempfile.TemporaryDirectory() as cache:
                    store = Store(cache)
                    pipeline = Pipeline(study, store, device=device.type)
                    pipeline.context.open()
                    every = [s.results for stage in SWEEPS for s in pipeline.steps(stage)]
                    swept = [r for rs in every for r in rs if isinstance(r, Validation | Features)]
                    work = partial(Here().carry_out, tuple(swept), pipeline.context)
                    took = seconds_of(work, device)()
                    store.close()
                return took / count

            return measure

        *fewer, most = counts
        others = {f"{count} anchors": each_of(count) for count in fewer}
        yield Sides(ours=each_of(most), others=others)


ROWS = (
    Row(
        name="sweeps",
        what="both sweeps of two anchors with all collectors, and least squares of all stitches "
        "from 100 images",
        reach={BARE: within(1.15)},
        sides=_sweeps,
        sizes={
            "cpu": {"models": DEITS, "train": 768, "val": 512, "batch": 64},
            "cuda": {"models": DEITS, "train": 16_384, "val": 8_192, "batch": 256},
        },
        rounds=2,
        warm_up=False,
    ),
    Row(
        name="anchors",
        what="the sweeps of a study of 8 anchors, for each anchor",
        reach={"2 anchors": within(1.1), "4 anchors": within(1.1)},
        sides=_anchors,
        sizes={
            "cpu": {"counts": (2, 4, 8), "samples": 3_000},
            "cuda": {"counts": (2, 4, 8), "samples": 5_000},
        },
        rounds=3,
    ),
)
