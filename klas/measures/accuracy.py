"""Top-1 accuracy of many stitches from one pass of their source."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from klas.measures.sweep import Tick
from klas.networks.anchor import Anchor
from klas.networks.device import Precision, autocast
from klas.networks.stitch import StitchLayer

Stitches = Mapping[tuple[int, int], StitchLayer]


@torch.inference_mode()
def stitched_hits(
    source: Anchor,
    target: Anchor,
    layers: Stitches,
    batches: Iterable[tuple[Tensor, ...]],
    samples: int,
    tick: Tick,
    *,
    precision: Precision = "float32",
) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """For each stitch (i, j), which of the samples it gets right: (N,) bits.

    The source runs once per batch; each stitch goes on from there alone, with the very shapes
    that it has as a network of its own, so its accuracy is that network's to the last bit.
    """
    # One block for all answers, on the device: nothing waits for it before the end.
    device = next(source.parameters()).device
    hits = torch.zeros((len(layers), samples), dtype=torch.bool, device=device)
    rows = {stitch: row for row, stitch in enumerate(layers)}
    deepest = max((i for i, _ in layers), default=0)
    seen = 0
    for images, labels in batches:
        with autocast(images.device, precision):
            for cut, activation in enumerate(source.walk(images, upto=deepest)):
                for i, j in (stitch for stitch in layers if stitch[0] == cut):
                    logits = target.resume(layers[i, j](activation), j)
                    hits[rows[i, j], seen : seen + len(labels)] = logits.argmax(1) == labels
        seen += len(labels)
        tick(len(labels))
    return dict(zip(layers, hits.cpu().numpy()))


@torch.inference_mode()
def network_hits(
    network: nn.Module, batches: Iterable[tuple[Tensor, ...]], *, precision: Precision = "float32"
) -> NDArray[np.bool_]:
    """Which samples a whole network gets right: (N,) bits."""
    hits = []
    for images, labels in batches:
        with autocast(images.device, precision):
            hits.append((network(images).argmax(1) == labels).cpu().numpy())
    return np.concatenate(hits)
