"""What every task does with tensors: its units, loss, outcomes and targets."""

from typing import ClassVar, Protocol

from torch import Tensor

from klas.networks.layout import Layout
from klas.tasks.task import Task


class Objective(Protocol):
    """A task as training and measuring see it: nothing else knows what a sample's target is.

    Attributes:
        task: its name and metric.
    """

    task: ClassVar[Task]

    def units(self, activation: Tensor, layout: Layout, pool: str) -> Tensor:
        """(U, C) the features of the units in an activation: what probes predict for."""
        ...

    def head_features(self, activation: Tensor, layout: Layout) -> Tensor:
        """What a network's head reads of its last activation, (N, …, C)."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training minimises: one number."""
        ...

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What the metric is made of, for every sample."""
        ...

    def hard_targets(self, outputs: Tensor) -> Tensor:
        """A teacher's outputs as targets (hard distillation)."""
        ...
