"""One pass of an anchor over the data serves every collector."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.networks.anchor import Anchor, pooled

Tick = Callable[[int], None]
"""Called with the number of images (or steps) just done."""


class Collector(Protocol):
    """Sees every batch of a sweep and keeps what it needs of it."""

    def update(self, activations: list[Tensor], logits: Tensor, labels: Tensor) -> None:
        """Activations at cuts 0..n, the head's logits (N, K), labels (N,)."""
        ...


@torch.inference_mode()
def sweep(
    anchor: Anchor,
    batches: Iterable[tuple[Tensor, ...]],
    collectors: Sequence[Collector],
    tick: Tick,
) -> None:
    """Run the anchor once over batches of (images, labels) and show each to the collectors."""
    for images, labels in batches:
        activations = anchor.cut_activations(images)
        logits = anchor.head(activations[-1])
        for collector in collectors:
            collector.update(activations, logits, labels)
        tick(len(labels))


class PooledFeatures:
    """The unit's features at every cut: n + 1 arrays (N, C_k), float32."""

    def __init__(self, anchor: Anchor, pool: str) -> None:
        self._layouts = anchor.info.layouts
        self._pool = pool
        self._batches: list[list[NDArray[np.float32]]] = []
        self._labels: list[NDArray[np.int64]] = []

    def update(self, activations: list[Tensor], logits: Tensor, labels: Tensor) -> None:
        """Pool on the device, so that only (N, C) travels."""
        rows = [pooled(a, lay, self._pool) for a, lay in zip(activations, self._layouts)]
        self._batches.append([r.cpu().numpy() for r in rows])
        self._labels.append(labels.cpu().numpy())

    def compute(self) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """``cut0`` … ``cutn`` and ``labels``."""
        cuts = {f"cut{k}": np.concatenate(rows) for k, rows in enumerate(zip(*self._batches))}
        return {**cuts, "labels": np.concatenate(self._labels)}


class Outputs:
    """The anchor's own logits (N, K), float32: its accuracy, and the anchor ranking."""

    def __init__(self) -> None:
        self._batches: list[NDArray[np.float32]] = []

    def update(self, activations: list[Tensor], logits: Tensor, labels: Tensor) -> None:
        """Keep the logits."""
        self._batches.append(logits.float().cpu().numpy())

    def compute(self) -> NDArray[np.float32]:
        """(N, K)."""
        return np.concatenate(self._batches)
