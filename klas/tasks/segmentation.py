"""Segmentation: an image, and a class for every pixel. What it does with tensors.

Targets are bytes (N, H, W): the class of every pixel, or :data:`VOID` where none counts.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, interpolate

from klas.data.label_maps import VOID
from klas.networks.anchor import AnchorInfo
from klas.networks.batch_size import FLOAT_BYTES
from klas.networks.layout import Layout, maps_and_prefix
from klas.tasks.metric import UNION_PARTS
from klas.tasks.objective import Objective, RowForm
from klas.tasks.task import SEGMENTATION

OUTPUTS_AT_ONCE = 3  # arrays of the outputs' size


class Segmentation(Objective):
    """A unit is a cell of the grid at the cut, the loss is over pixels, the metric is mIoU."""

    task = SEGMENTATION

    def target_form(self, info: AnchorInfo) -> RowForm:
        """A label map."""
        _, height, width = info.images.input_size
        return (height, width), np.dtype(np.uint8)

    def unit_shape(self, layout: Layout) -> tuple[int, ...]:
        """The grid."""
        return layout.grid

    def units(self, activation: Tensor, layout: Layout, pool: str) -> Tensor:
        """(N, h, w, C) the map; prefix tokens are no cells."""
        maps, _ = maps_and_prefix(activation, layout)
        return maps.float()

    def unit_targets(self, targets: Tensor, layout: Layout, classes: int) -> Tensor:
        """(N · h · w, K) the share of each class in every cell.

        Void pixels are left out: shares add up to those of the others. So the cross-entropy under
        shares is that of the cell's prediction for all of its pixels.
        """
        shares = [
            adaptive_avg_pool2d((targets == number).float(), _size(layout))
            for number in range(classes)
        ]
        return torch.stack(shares, -1).flatten(0, -2)

    def unit_outcomes(self, logits: Tensor, targets: Tensor, layout: Layout) -> Tensor:
        """(N, 3, K) of a probe's logits (N, h, w, K), resized to the label maps."""
        height, width = targets.shape[1:]
        maps = logits.permute(0, 3, 1, 2)
        resized = interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
        return self.outcomes(resized, targets)

    def head_features(self, activation: Tensor, layout: Layout) -> Tensor:
        """(N, h, w, C) the map."""
        maps, _ = maps_and_prefix(activation, layout)
        return maps

    def output_forms(self, info: AnchorInfo) -> dict[str, RowForm]:
        """``logits`` (h, w, K) in the cells of the last grid, and ``outcomes`` (3, K)."""
        grid = _size(info.layouts[-1])
        return {
            "logits": ((*grid, info.classes), np.dtype(np.float32)),
            "outcomes": ((len(UNION_PARTS), info.classes), np.dtype(np.int32)),
        }

    def output_bytes(self, info: AnchorInfo) -> int:
        """Of logits for every pixel, their probabilities, and the classes."""
        _, height, width = info.images.input_size
        return OUTPUTS_AT_ONCE * FLOAT_BYTES * info.classes * height * width

    def kept_outputs(
        self, outputs: Tensor, targets: Tensor, info: AnchorInfo
    ) -> Mapping[str, Tensor]:
        """The logarithm of what is predicted for each cell as a whole, and the outcomes."""
        chances = adaptive_avg_pool2d(outputs.float().softmax(1), _size(info.layouts[-1]))
        logits = chances.clamp_min(torch.finfo(chances.dtype).tiny).log().permute(0, 2, 3, 1)
        return {"logits": logits, "outcomes": self.outcomes(outputs, targets)}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy over pixels that are not void, in nats; 0 if all are."""
        wanted = targets.long()
        total = cross_entropy(outputs, wanted, ignore_index=VOID, reduction="sum")
        return total / (wanted != VOID).sum().clamp_min(1)

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, 3, K) how many pixels of each class are right, predicted and there.

        Void pixels count in none of them.

        Args:
            outputs: (N, K, H, W).
            targets: (N, H, W).
        """
        samples, classes = outputs.shape[:2]
        guess, wanted = outputs.argmax(1).flatten(1), targets.flatten(1).long()
        counts = wanted != VOID
        first = classes * torch.arange(samples, device=outputs.device)[:, None]

        def per_class(numbers: Tensor, pixels: Tensor) -> Tensor:
            found = torch.bincount((numbers + first)[pixels], minlength=samples * classes)
            return found.view(samples, classes)

        right = per_class(guess, counts & (guess == wanted))
        parts = [right, per_class(guess, counts), per_class(wanted, counts)]
        return torch.stack(parts, 1).int()

    def hard_targets(self, outputs: Tensor) -> Tensor:
        """(N, H, W) the classes that logits (N, K, H, W) predict."""
        return outputs.argmax(1).to(torch.uint8)


def _size(layout: Layout) -> tuple[int, int]:
    height, width = layout.grid
    return height, width
