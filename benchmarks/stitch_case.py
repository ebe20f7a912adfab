"""A pair whose stitches are measured and trained in rows: anchors, layers, and images in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import timm
import torch
from torch import Tensor

from klas.data import batches, open_images
from klas.measures.least_squares import fit_stitch_layers
from klas.networks.anchor import Anchor, Transform, freeze
from klas.networks.device import Precision, autocast, forward_precision
from klas.networks.family import Family
from klas.networks.load import load_anchor
from klas.selection.space import Place, candidates
from klas.study import AnchorSpec
from klas.tasks.classification import Classification

FIT = 100  # images for the layers by least squares

Batch = tuple[Tensor, Tensor]
"""Images (n, C, H, W) and labels (n,)."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """All candidates of a pair, with layers by least squares, and images on the device.

    Attributes:
        measured, trained: batches of them.
    """

    family: Family
    measured: list[Batch]
    trained: list[Batch]
    precision: Precision
    objective = Classification()

    def views(self, first: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """From a step on, as both anchors see them: alike."""
        return iter([(images, images, labels) for images, labels in self.trained[first:]])

    def moved(self, batch: Batch) -> dict[Place, Tensor]:
        """What enters the target behind every stitch layer."""
        family = self.family
        with torch.no_grad(), autocast(batch[0].device, self.precision):
            activations = family.source.cut_activations(batch[0])
            return {(i, j): family.layer((i, j))(activations[i]) for i, j in family.places}


def open_case(
    device: torch.device, source: str, target: str, *, images: int, steps: int, batch: int
) -> Case:
    """A pair by name, with ``images`` to measure on and ``steps`` batches to train on."""
    precision = forward_precision(device)
    f, g = (_anchor(name, device) for name in (source, target))
    train = _images(f.info.images, "train", max(FIT, steps * batch), device)
    measured = _images(f.info.images, "val", images, device)
    places = [place for place, _, _ in candidates(f.info.stages, g.info.stages)]
    fitting, labels = (part[:FIT] for part in train)
    views = ((x, x, y) for x, y in zip(fitting.split(batch), labels.split(batch)))
    states = fit_stitch_layers(f, g, views, places, precision=precision)
    return Case(
        family=Family(f, g, {place: states[place] for place in places}).eval(),
        measured=_cut(measured, 256),
        trained=_cut(train, batch)[:steps],
        precision=precision,
    )


def _anchor(name: str, device: torch.device) -> Anchor:
    if name.startswith("digits"):
        spec = AnchorSpec(name=name, model=name)
        return freeze(load_anchor(spec, crop=1.0, interpolation="bilinear"), device)
    torch.manual_seed(0)
    transform = Transform(
        input_size=(3, 224, 224),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        crop=0.9,
        interpolation="bicubic",
    )
    network = timm.create_model(name).eval()
    return freeze(Anchor.from_module(network, name, transform=transform), device)


def _images(transform: Transform, split: str, count: int, device: torch.device) -> Batch:
    """Digits where they fit, else noise of a thousand classes."""
    if transform.input_size[0] == 1:
        scenes, rows = open_images(f"klas/digits:{split}"), np.arange(count)
        (one,) = batches(scenes, rows, [transform], device=device, batch=count)
        return one[0], one[1]
    generator = torch.Generator().manual_seed(len(split))
    images = torch.randn(count, *transform.input_size, generator=generator)
    return images.to(device), torch.randint(1000, (count,), generator=generator).to(device)


def _cut(samples: Batch, size: int) -> list[Batch]:
    return list(zip(*(part.split(size) for part in samples)))
