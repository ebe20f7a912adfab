"""What every task says of tensors: its units, loss, outcomes and targets."""

from typing import ClassVar, Protocol

from torch import Tensor

from klas.networks.layout import Layout
from klas.tasks.task import Task


class Objective(Protocol):
    """A task, where there are tensors. Training and measuring ask it and know no other.

    Attributes:
        task: what files and people call it, and its metric.
    """

    task: ClassVar[Task]

    def units(self, activation: Tensor, layout: Layout, pool: str) -> Tensor:
        """(U, C) the features of the units in an activation: what probes predict for."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training lowers: one number."""
        ...

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What the metric is made of, for every sample."""
        ...

    def hard_targets(self, outputs: Tensor) -> Tensor:
        """A teacher's outputs as targets (hard distillation)."""
        ...
