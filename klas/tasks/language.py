"""Language: a text, and after each of its tokens the next one. What it does with tensors.

Inputs are tokens (N, L), targets the next tokens (N, L). Everything is counted, no unit is void.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from klas.networks.anchor import AnchorInfo
from klas.networks.batch_size import FLOAT_BYTES
from klas.networks.layout import Layout
from klas.tasks.metric import TOKEN_PARTS
from klas.tasks.objective import Objective, RowForm
from klas.tasks.task import LANGUAGE

OUTPUTS_AT_ONCE = 3  # arrays of the outputs' size


class Language(Objective):
    """A unit is a position of a text, its target the next token, the metric token accuracy."""

    task = LANGUAGE
    streamed = True

    def target_form(self, info: AnchorInfo) -> RowForm:
        """The next tokens."""
        return (info.transform.positions,), np.dtype(np.int64)

    def unit_shape(self, layout: Layout) -> tuple[int, ...]:
        """None that a cut knows of: a text is as long as the study says."""
        return ()

    def units(self, activation: Tensor, layout: Layout, pool: str) -> Tensor:
        """(N, L, C) the hidden states."""
        return activation.float()

    def unit_targets(self, targets: Tensor, layout: Layout, classes: int) -> Tensor:
        """(N · L,) the next tokens."""
        return targets.flatten()

    def unit_outcomes(self, logits: Tensor, targets: Tensor, layout: Layout) -> Tensor:
        """(N, 3) of a probe's logits (N, L, words)."""
        return self.outcomes(logits, targets)

    def head_features(self, activation: Tensor, layout: Layout) -> Tensor:
        """(N, L, C) all of it."""
        return activation

    def output_forms(self, info: AnchorInfo) -> dict[str, RowForm]:
        """``outcomes`` (3,)."""
        return {"outcomes": ((len(TOKEN_PARTS),), np.dtype(np.float32))}

    def output_bytes(self, info: AnchorInfo) -> int:
        """Of logits for every position and word, and their logarithms."""
        return OUTPUTS_AT_ONCE * FLOAT_BYTES * info.transform.positions * info.classes

    def kept_outputs(
        self, outputs: Tensor, targets: Tensor, info: AnchorInfo
    ) -> Mapping[str, Tensor]:
        """The outcomes; logits for every position and word are too many."""
        return {"outcomes": self.outcomes(outputs, targets)}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy over positions, in nats; its exponential is the perplexity."""
        return cross_entropy(outputs.float().flatten(0, 1), targets.flatten())

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, 3) how many tokens were foretold, the sum of −log p of all, and of how many.

        Args:
            outputs: (N, L, words).
            targets: (N, L).
        """
        right = (outputs.argmax(-1) == targets).sum(1)
        flat = cross_entropy(outputs.float().flatten(0, 1), targets.flatten(), reduction="none")
        nats = flat.view_as(targets).sum(1)
        return torch.stack([right.float(), nats, torch.full_like(nats, targets.shape[1])], 1)

    def hard_targets(self, outputs: Tensor) -> Tensor:
        """(N, L) the tokens that logits (N, L, words) foretell."""
        return outputs.argmax(-1)
