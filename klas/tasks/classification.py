"""Classification: one image, one class. What it does with tensors."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from klas.networks.anchor import AnchorInfo
from klas.networks.layout import Layout, maps_and_prefix, pooled
from klas.tasks.objective import Objective, RowForm
from klas.tasks.task import CLASSIFICATION


class Classification(Objective):
    """A unit is an image, a target its class, the loss cross-entropy, the metric top-1."""

    task = CLASSIFICATION

    def target_form(self, info: AnchorInfo) -> RowForm:
        """A class."""
        return (), np.dtype(np.int64)

    def unit_shape(self, layout: Layout) -> tuple[int, ...]:
        """None: an image is one unit."""
        return ()

    def units(self, activation: Tensor, layout: Layout, pool: str) -> Tensor:
        """(N, C) an image's features: the mean over its positions, or over its prefix alone."""
        return pooled(activation, layout, pool)

    def unit_targets(self, targets: Tensor, layout: Layout, classes: int) -> Tensor:
        """(N,) the images' classes."""
        return targets

    def unit_outcomes(self, logits: Tensor, targets: Tensor, layout: Layout) -> Tensor:
        """(N,) whether a probe's highest logit is that of the class."""
        return self.outcomes(logits, targets)

    def head_features(self, activation: Tensor, layout: Layout) -> Tensor:
        """(N, P + 1, C) the prefix tokens, and the mean over the map."""
        maps, prefix = maps_and_prefix(activation, layout)
        return torch.cat([prefix, maps.mean((1, 2))[:, None]], 1)

    def output_forms(self, info: AnchorInfo) -> dict[str, RowForm]:
        """``logits`` (K,)."""
        return {"logits": ((info.classes,), np.dtype(np.float32))}

    def output_bytes(self, info: AnchorInfo) -> int:
        """Logits take next to nothing."""
        return 0

    def kept_outputs(
        self, outputs: Tensor, targets: Tensor, info: AnchorInfo
    ) -> Mapping[str, Tensor]:
        """The logits (N, K), as they are."""
        return {"logits": outputs.float()}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, in nats, of logits (N, K) under classes (N,)."""
        return cross_entropy(outputs, targets)

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(…, N) whether the highest of the logits (…, N, K) is that of the class (N,)."""
        return outputs.argmax(-1) == targets

    def hard_targets(self, outputs: Tensor) -> Tensor:
        """(N,) the classes that logits (N, K) predict, to teach another network."""
        return outputs.argmax(-1)
