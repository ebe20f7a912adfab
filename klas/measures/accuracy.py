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
    samples: int,
    tick: Tick,
) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """For each stitch (i, j), which of the samples it gets right: (N,) bits.

    The source runs once per batch; each stitch goes on from there alone, with the very shapes
    that it has as a network of its own, so its accuracy is that network's to the last bit.
    """
    # One block for all answers: small arrays kept between large ones would pin the heap.
    hits = np.zeros((len(layers), samples), dtype=np.bool_)
    deepest = max((i for i, _ in layers), default=0)
    seen = 0
    for images, labels in batches:
        activations = source.cut_activations(images, upto=deepest)
        for row, ((i, j), layer) in zip(hits, layers.items()):
            logits = target.resume(layer(activations[i]), j)
            row[seen : seen + len(labels)] = (logits.argmax(1) == labels).cpu().numpy()
        seen += len(labels)
        tick(len(labels))
    return dict(zip(layers, hits))


@torch.inference_mode()
def network_hits(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> NDArray[np.bool_]:
    """Which samples a whole network gets right: (N,) bits."""
    return np.concatenate(
        [(network(images).argmax(1) == labels).cpu().numpy() for images, labels in batches]
    )
