"""What every task does with tensors: its units, loss, outcomes and targets."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor

from klas.networks.anchor import AnchorInfo
from klas.networks.layout import Layout
from klas.tasks.task import Task

RowForm = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and type of what is stored of one sample."""


class Objective(Protocol):
    """A task as training and measuring see it: nothing else knows what a sample's target is.

    A sample has units, of shape (…): none for an image of one class, which is one unit itself.

    Attributes:
        task: its name and metric.
        streamed: whether what probes predict for units is made again from the samples wherever it
            is compared, a few units at a time: their features would be too many to keep.
    """

    task: ClassVar[Task]
    streamed: ClassVar[bool] = False

    def target_form(self, info: AnchorInfo) -> RowForm:
        """Of a sample's target, as an anchor's pass over the samples stores it."""
        ...

    def unit_shape(self, layout: Layout) -> tuple[int, ...]:
        """Of a sample's units at a cut."""
        ...

    def units(self, activation: Tensor, layout: Layout, pool: str) -> Tensor:
        """(N, …, C) the features of the units in an activation: what probes predict for."""
        ...

    def unit_targets(self, targets: Tensor, layout: Layout, classes: int) -> Tensor:
        """What probes learn of targets: classes (U,), or their shares (U, K), of all units."""
        ...

    def unit_outcomes(self, logits: Tensor, targets: Tensor, layout: Layout) -> Tensor:
        """Outcomes as of :meth:`outcomes`, of a probe's logits (N, …, K) at a cut."""
        ...

    def head_features(self, activation: Tensor, layout: Layout) -> Tensor:
        """What a network's head reads of its last activation, (N, …, C)."""
        ...

    def output_forms(self, info: AnchorInfo) -> dict[str, RowForm]:
        """Of what :meth:`kept_outputs` gives for a sample, by name."""
        ...

    def output_bytes(self, info: AnchorInfo) -> int:
        """Bytes of an image's outputs while they are compared, about; 0 where they are few."""
        ...

    def kept_outputs(
        self, outputs: Tensor, targets: Tensor, info: AnchorInfo
    ) -> Mapping[str, Tensor]:
        """What is kept of an anchor's outputs: for its accuracy and the anchor ranking."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training minimises: one number."""
        ...

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, …) what the metric is made of, for every sample."""
        ...

    def hard_targets(self, outputs: Tensor) -> Tensor:
        """A teacher's outputs as targets (hard distillation)."""
        ...
