"""One pass of an anchor over the data serves every collector."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.errors import AnchorError
from klas.networks.anchor import Anchor, AnchorInfo
from klas.networks.device import Precision, autocast
from klas.storage.arrays import Shapes
from klas.tasks.objective import Objective, RowForm

Tick = Callable[[int], None]
"""Called with the number of images (or steps) just done."""

Append = Callable[[str, NDArray[Any]], None]
"""Takes the next rows (n, …) of the named array, to be stored."""


class Collector(Protocol):
    """Sees every batch of a sweep, cut by cut, and keeps what it needs."""

    def update_cut(self, cut: int, activation: Tensor) -> None:
        """The activation at one cut, for cuts 0..n in turn; it is gone after the call."""
        ...

    def update_output(self, logits: Tensor, labels: Tensor) -> None:
        """The end of a batch: the head's logits (n, K) and the labels (n,)."""
        ...


@torch.inference_mode()
def sweep(
    anchor: Anchor,
    batches: Iterable[tuple[Tensor, ...]],
    collectors: Sequence[Collector],
    tick: Tick,
    *,
    precision: Precision = "float32",
) -> None:
    """Run the anchor once over batches of (images, labels) and show each to the collectors.

    One activation exists at a time, so memory depends neither on depth nor on samples.

    Args:
        anchor: the network, in eval mode.
        batches: (images (n, C, H, W), labels (n,)).
        collectors: what sees every batch.
        tick: called with the number of images of every batch.
        precision: of the forward passes.

    Raises:
        AnchorError: a collector refuses what the anchor gives, such as NaN.
    """
    for images, labels in batches:
        with autocast(images.device, precision):
            for cut, activation in enumerate(anchor.walk(images)):
                for collector in collectors:
                    collector.update_cut(cut, activation)
            logits = anchor.head(activation)
        for collector in collectors:
            collector.update_output(logits, labels)
        tick(len(labels))


class PooledFeatures:
    """The units' features at every cut, ``cut0`` … ``cutn`` (N, …, C_k), and targets, ``labels``.

    Raises (while the sweep goes on):
        AnchorError: an activation is not finite.
    """

    def __init__(self, anchor: Anchor, objective: Objective, pool: str, append: Append) -> None:
        self._name = anchor.info.name
        self._layouts = anchor.info.layouts
        self._units = objective.units
        self._pool = pool
        self._append = append
        self._batch: list[Tensor] = []

    @staticmethod
    def shapes(anchor: AnchorInfo, objective: Objective, samples: int) -> Shapes:
        """Shapes and types of the arrays that it appends to."""
        forms: dict[str, RowForm] = {
            f"cut{k}": ((*objective.unit_shape(layout), layout.channels), np.dtype(np.float32))
            for k, layout in enumerate(anchor.layouts)
        }
        return _arrays(forms | {"labels": objective.target_form(anchor)}, samples)

    def update_cut(self, cut: int, activation: Tensor) -> None:
        """Pool on the device, so that only the units leave it."""
        self._batch.append(self._units(activation, self._layouts[cut], self._pool))

    def update_output(self, logits: Tensor, labels: Tensor) -> None:
        """Hand over the batch's rows, with one wait for the device per batch."""
        for cut, rows in enumerate(self._batch):
            where = f"{self._name}: the activations at cut {cut}"
            self._append(f"cut{cut}", _finite(rows, where))
        self._batch.clear()
        self._append("labels", labels.cpu().numpy())


class Outputs:
    """What the task keeps of an anchor's outputs: for its accuracy and the anchor ranking.

    Raises (while the sweep goes on):
        AnchorError: an output is not finite.
    """

    def __init__(self, anchor: Anchor, objective: Objective, append: Append) -> None:
        self._info = anchor.info
        self._objective = objective
        self._append = append

    @staticmethod
    def shapes(anchor: AnchorInfo, objective: Objective, samples: int) -> Shapes:
        """Shapes and types of the arrays that it appends to."""
        return _arrays(objective.output_forms(anchor), samples)

    def update_cut(self, cut: int, activation: Tensor) -> None:
        """Nothing: the outputs come after the last cut."""

    def update_output(self, logits: Tensor, labels: Tensor) -> None:
        """Hand over what is kept."""
        kept = self._objective.kept_outputs(logits, labels, self._info)
        for name, values in kept.items():
            self._append(name, _finite(values, f"{self._info.name}: the outputs"))


def _arrays(forms: Mapping[str, RowForm], samples: int) -> Shapes:
    """Of so many rows of these forms."""
    return {name: ((samples, *shape), kind) for name, (shape, kind) in forms.items()}


def _finite(values: Tensor, what: str) -> NDArray[Any]:
    rows: NDArray[Any] = values.cpu().numpy()
    if not np.isfinite(rows).all():
        raise AnchorError(f"{what} are not finite; its weights or its transform must be wrong")
    return rows
