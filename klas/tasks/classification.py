"""Classification: one image, one class. What it does with tensors."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from klas.networks.layout import Layout, maps_and_prefix, pooled
from klas.tasks.objective import Objective
from klas.tasks.task import CLASSIFICATION


class Classification(Objective):
    """A unit is an image, a target its class, the loss cross-entropy, the metric top-1."""

    task = CLASSIFICATION

    def units(self, activation: Tensor, layout: Layout, pool: str) -> Tensor:
        """(N, C) an image's features: the mean over its positions, or over its prefix alone."""
        return pooled(activation, layout, pool)

    def head_features(self, activation: Tensor, layout: Layout) -> Tensor:
        """(N, P + 1, C) the prefix tokens, and the mean over the map."""
        maps, prefix = maps_and_prefix(activation, layout)
        return torch.cat([prefix, maps.mean((1, 2))[:, None]], 1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, in nats, of logits (N, K) under classes (N,)."""
        return cross_entropy(outputs, targets)

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(…, N) whether the highest of the logits (…, N, K) is that of the class (N,)."""
        return outputs.argmax(-1) == targets

    def hard_targets(self, outputs: Tensor) -> Tensor:
        """(N,) the classes that logits (N, K) predict, to teach another network."""
        return outputs.argmax(-1)
