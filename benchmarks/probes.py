"""Rows ``probes`` and ``probes_shallow``: probes of all cuts beside the paper's ProbeNet."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.harness import Claim, Row, Sides, faster, seconds_of
from klas.digits.scenes import CLASSES, SIZE, make_scenes
from klas.digits.train import normalised
from klas.measures.probenet import BATCH, train_by_passes
from klas.measures.probes import Probe, mean_and_std, train_probe
from klas.measures.schedule import batch_rows
from klas.measures.sweep import PooledFeatures, sweep
from klas.networks.anchor import Anchor, Transform, freeze
from klas.networks.device import forward_precision
from klas.tasks.classification import Classification

PROBENET = "ProbeNet: one probe active per forward pass, to within 0.005 of the same accuracy"
L2 = 1e-4


def _network(model: str, depth: int, device: torch.device) -> Anchor:
    """A trained transformer for the built-in images, made deeper by blocks that are not trained."""
    torch.manual_seed(0)
    network = timm.create_model(model, depth=depth)
    trained = timm.create_model(model, pretrained=True)
    network.load_state_dict(trained.state_dict(), strict=False)
    transform = Transform(
        input_size=(1, SIZE, SIZE), mean=(0.5,), std=(0.25,), crop=1.0, interpolation="bilinear"
    )
    return freeze(Anchor.from_module(network, model, transform=transform), device)


def _features(anchor: Anchor, images: Tensor, labels: Tensor) -> list[NDArray[np.float32]]:
    """Pooled features of every cut, from one sweep."""
    kept: dict[str, list[NDArray[Any]]] = defaultdict(list)
    collector = PooledFeatures(
        anchor, Classification(), "mean", lambda name, rows: kept[name].append(rows)
    )
    batches = zip(images.split(2 * BATCH), labels.split(2 * BATCH))
    precision = forward_precision(images.device)
    sweep(anchor, batches, [collector], lambda count: None, precision=precision)
    return [np.concatenate(kept[f"cut{k}"]) for k in range(anchor.info.depth + 1)]


def _sides(
    device: torch.device, *, model: str, depth: int, samples: int, epochs: int
) -> Iterator[Sides]:
    anchor = _network(model, depth, device)
    pictures, classes = make_scenes("train", samples)
    images, labels = normalised(pictures).to(device), torch.from_numpy(classes).to(device)
    probes: dict[str, list[Probe]] = {}
    scales = [mean_and_std(features, device) for features in _features(anchor, images, labels)]

    def ours() -> None:
        features = _features(anchor, images, labels)
        probes["ours"] = [train_probe(part, labels, CLASSES, l2=L2) for part in features]

    def probenet() -> None:
        steps = epochs * samples // BATCH
        order = torch.from_numpy(batch_rows(0, steps, rows=samples, batch=BATCH, seed=0))
        probes["theirs"] = [
            train_by_passes(
                anchor,
                cut,
                ((images[rows], labels[rows]) for rows in order.to(device).split(BATCH)),
                steps,
                mean=mean,
                std=std,
                classes=CLASSES,
                l2=L2,
                objective=Classification(),
                pool="mean",
                precision=forward_precision(device),
            )
            for cut, (mean, std) in enumerate(scales)
        ]

    def claims() -> list[Claim]:
        pictures, classes = make_scenes("val", 5_000)
        held_out, wanted = normalised(pictures).to(device), torch.from_numpy(classes).to(device)
        features = _features(anchor, held_out, wanted)
        hits = {
            side: [
                float((probe.logits(torch.from_numpy(part).to(device)).argmax(1) == wanted).sum())
                for probe, part in zip(trained, features)
            ]
            for side, trained in probes.items()
        }
        count = len(wanted) * len(features)
        lead = (sum(hits["ours"]) - sum(hits["theirs"])) / count
        return [
            Claim("validation accuracy that ours lacks, mean over cuts", -lead, 0.002),
            Claim("validation accuracy that ProbeNet lacks", lead, 0.005),
        ]

    yield Sides(
        ours=seconds_of(ours, device),
        others={PROBENET: seconds_of(probenet, device)},
        claims=claims,
    )


ROWS = tuple(
    Row(
        name=name,
        what=f"probes of all {depth + 1} cuts of a network of {depth} blocks, its sweep counted",
        reach={PROBENET: reach},
        sides=_sides,
        sizes={
            "cpu": {"model": "digits_vit_base", "depth": depth, "samples": 2_000, "epochs": 16},
            "cuda": {"model": "digits_vit_base", "depth": depth, "samples": 20_000, "epochs": 4},
        },
        rounds=2,
        warm_up=False,
    )
    for name, depth, reach in (("probes_shallow", 6, faster()), ("probes", 12, faster(10)))
)
