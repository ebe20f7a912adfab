"""Mixup and cutmix of a batch that is spread over processes and seen in several geometries.

timm's ``Mixup`` draws what happens to a step's whole batch, once, on a pair of blank images. Every
view is mixed by what became of these.
"""

import torch
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor
from torch.nn.functional import interpolate

from klas.deploy.training.drawing import MIXING, drawn
from klas.recipe import TrainingSpec


class Mixing:
    """Mixes images and labels: each image with the one at the same distance from the other end."""

    def __init__(self, recipe: TrainingSpec, classes: int, grid: tuple[int, int]) -> None:
        """Prepare timm's.

        Args:
            classes: how many there are.
            grid: height and width of the largest view.
        """
        self._seed, self._grid, self._classes = recipe.seed, grid, classes
        self._smoothing = recipe.smoothing
        self._mixup = (
            Mixup(
                mixup_alpha=recipe.mixup,
                cutmix_alpha=recipe.cutmix,
                prob=recipe.mixup_prob,
                switch_prob=recipe.switch_prob,
                label_smoothing=recipe.smoothing,
                num_classes=classes,
            )
            if recipe.mixes
            else None
        )

    def draw(self, step: int, labels: Tensor) -> tuple[Tensor | None, Tensor]:
        """How a step's images are mixed, and the targets that go with that.

        Args:
            labels: (n,) of a part of the batch, in which every image's partner is.

        Returns:
            The share of the partner in each pixel, (1, 1, H, W), on the largest grid; None where
            nothing is mixed. And (n, K) probabilities, or the labels as they are.
        """
        if self._mixup is not None:
            pair = torch.zeros(2, 1, *self._grid)
            pair[1] = 1
            with drawn(MIXING, self._seed, step):
                pair, targets = self._mixup(pair, labels)
            return pair[:1], targets
        if self._smoothing:
            return None, mixup_target(labels, self._classes, smoothing=self._smoothing)
        return None, labels


def mixed(images: Tensor, share: Tensor | None) -> Tensor:
    """Images (n, C, H, W), each mixed with its partner: the first with the last, and so on.

    Examples:
        >>> images = torch.tensor([0.0, 1.0, 10.0, 20.0])[:, None, None, None]
        >>> mixed(images, torch.tensor(0.25)[None, None, None, None]).flatten()
        tensor([ 5.0000,  3.2500,  7.7500, 15.0000])
    """
    if share is None:
        return images
    share = interpolate(share, images.shape[-2:], mode="nearest-exact")
    return torch.lerp(images, images.flip(0), share.to(images.device).expand_as(images))
