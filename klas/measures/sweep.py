"""One pass of an anchor over the data serves every collector."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.errors import AnchorError
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

    def __init__(self, anchor: Anchor, pool: str, samples: int) -> None:
        self._name = anchor.info.name
        self._layouts = anchor.info.layouts
        self._pool = pool
        # Whole arrays from the start: a list of batches would be held twice when joined.
        self._cuts = [np.empty((samples, lay.channels), np.float32) for lay in self._layouts]
        self._labels = np.empty(samples, np.int64)
        self._seen = 0

    def update(self, activations: list[Tensor], logits: Tensor, labels: Tensor) -> None:
        """Pool on the device, so that only (N, C) travels."""
        rows = slice(self._seen, self._seen + len(labels))
        for cut, activation, layout in zip(self._cuts, activations, self._layouts):
            cut[rows] = pooled(activation, layout, self._pool).cpu().numpy()
        self._labels[rows] = labels.cpu().numpy()
        self._seen = rows.stop

    def compute(self) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """``cut0`` … ``cutn`` and ``labels``.

        Raises:
            AnchorError: an activation is not finite.
        """
        for k, rows in enumerate(self._cuts):
            _refuse_infinite(rows, f"{self._name}: the activations at cut {k}")
        return {f"cut{k}": rows for k, rows in enumerate(self._cuts)} | {"labels": self._labels}


class Outputs:
    """The anchor's own logits (N, K), float32: its accuracy, and the anchor ranking."""

    def __init__(self, anchor: Anchor, samples: int) -> None:
        self._name = anchor.info.name
        self._logits = np.empty((samples, anchor.info.classes), np.float32)
        self._seen = 0

    def update(self, activations: list[Tensor], logits: Tensor, labels: Tensor) -> None:
        """Keep the logits."""
        self._logits[self._seen : self._seen + len(labels)] = logits.float().cpu().numpy()
        self._seen += len(labels)

    def compute(self) -> NDArray[np.float32]:
        """(N, K).

        Raises:
            AnchorError: a logit is not finite.
        """
        _refuse_infinite(self._logits, f"{self._name}: the outputs")
        return self._logits


def _refuse_infinite(values: NDArray[np.float32], what: str) -> None:
    if not np.isfinite(values).all():
        raise AnchorError(f"{what} are not finite; its weights or its transform must be wrong")
