"""Top-1 accuracy of many stitches from one pass of their source."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from klas.measures.sweep import Tick
from klas.networks.anchor import Anchor

Stitches = Mapping[tuple[int, int], nn.Linear]


@torch.inference_mode()
def stitched_hits(
    source: Anchor,
    target: Anchor,
    layers: Stitches,
    batches: Iterable[tuple[Tensor, ...]],
    tick: Tick,
) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """For each stitch (i, j), which samples it gets right: (N,) bits.

    The source runs once per batch; each stitch goes on from there alone, with the very shapes
    that it has as a network of its own, so its accuracy is that network's to the last bit.
    Its logits past the last class of the labels count as wrong guesses.
    """
    hits: dict[tuple[int, int], list[NDArray[np.bool_]]] = {stitch: [] for stitch in layers}
    deepest = max((i for i, _ in layers), default=0)
    for images, labels in batches:
        activations = source.cut_activations(images, upto=deepest)
        for (i, j), layer in layers.items():
            logits = target.resume(layer(activations[i]), j)
            hits[i, j].append((logits.argmax(1) == labels).cpu().numpy())
        tick(len(labels))
    return {stitch: np.concatenate(parts) for stitch, parts in hits.items()}


@torch.inference_mode()
def network_hits(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> NDArray[np.bool_]:
    """Which samples a whole network gets right: (N,) bits."""
    return np.concatenate(
        [(network(images).argmax(1) == labels).cpu().numpy() for images, labels in batches]
    )
