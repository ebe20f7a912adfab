"""Augmented images: the same one for every anchor, each in its own geometry.

timm's training transform is run once for each anchor with the same random state, so crops, flips
and RandAugment agree. Erasing is drawn once for all: where timm places a rectangle depends on the
size of the image by more than a scale.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from timm.data import create_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from klas.data.loading import mode_of
from klas.deploy.training.drawing import AUGMENTATION, ERASING, drawn, words
from klas.errors import StudyError, one_line
from klas.networks.anchor import Transform
from klas.recipe import TrainingSpec


class Augmentation:
    """From a picture to what anchors see of it in a step: a function of (seed, step, row).

    Raises:
        StudyError: timm doesn't know such an augmentation.
    """

    def __init__(self, transforms: Mapping[str, Transform], recipe: TrainingSpec) -> None:
        """Prepare timm's transforms.

        Args:
            transforms: of every anchor that images may be taken for, by name.
        """
        self._seed = recipe.seed
        self._transforms = dict(transforms)
        self._augment = {name: _training(t, recipe) for name, t in transforms.items()}
        self._grid = largest_grid(transforms)
        self._eraser = RandomErasing(recipe.reprob, mode="const", device="cpu")
        self._erases = recipe.reprob > 0

    def __call__(
        self, picture: Image, step: int, row: int, viewers: Sequence[str]
    ) -> dict[str, Tensor]:
        """Bytes (C, H, W) by viewer, not yet normalised."""
        views = {}
        erased = self._erased(step, row) if self._erases else None
        for name in viewers:
            transform = self._transforms[name]
            with drawn(AUGMENTATION, self._seed, step, row):
                pixels: Tensor = self._augment[name](picture.convert(mode_of(transform)))
            if erased is not None:
                _erase(pixels, erased, transform, words(ERASING, self._seed, step, row, count=2)[1])
            views[name] = pixels
        return views

    def _erased(self, step: int, row: int) -> tuple[float, float, float, float] | None:
        """Top, bottom, left and right of the rectangle that is erased, as shares of the sides."""
        mask = torch.ones(1, *self._grid)
        with drawn(ERASING, self._seed, step, row):
            self._eraser(mask)
        down, across = (torch.nonzero(mask[0].amin(axis) == 0) for axis in (1, 0))
        if not len(down):
            return None
        height, width = self._grid
        return (
            int(down[0]) / height,
            (int(down[-1]) + 1) / height,
            int(across[0]) / width,
            (int(across[-1]) + 1) / width,
        )


def largest_grid(transforms: Mapping[str, Transform]) -> tuple[int, int]:
    """Height and width in which what concerns all views is drawn."""
    sizes = [transform.input_size[1:] for transform in transforms.values()]
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def _training(transform: Transform, recipe: TrainingSpec) -> Any:
    # RandAugment turns and shears, for which Pillow has no Lanczos filter.
    smooth = "bicubic" if transform.interpolation == "lanczos" else transform.interpolation
    try:
        return create_transform(
            input_size=transform.input_size,
            is_training=True,
            use_prefetcher=True,  # timm's word for: leave normalisation to the batch
            scale=recipe.scale,
            ratio=recipe.ratio,
            hflip=recipe.hflip,
            color_jitter=recipe.color_jitter or None,
            auto_augment=recipe.aa or None,
            interpolation=smooth,
            mean=transform.mean,
            std=transform.std,
        )
    except Exception as error:  # timm asserts, and parts of a word may be no numbers
        raise StudyError(
            f"[training] aa = {recipe.aa!r}: timm doesn't know it ({one_line(error)}); "
            "write it as rand-m9-mstd0.5-inc1, or leave it empty"
        ) from None


def _erase(
    pixels: Tensor, erased: tuple[float, float, float, float], transform: Transform, seed: int
) -> None:
    """Fill a rectangle with noise as timm does: normal, in units of the normalised image."""
    channels, height, width = pixels.shape
    top, bottom = (round(share * height) for share in erased[:2])
    left, right = (round(share * width) for share in erased[2:])
    noise = np.random.default_rng(seed).normal(size=(channels, bottom - top, right - left))
    mean, std = (np.array(values)[:, None, None] for values in (transform.mean, transform.std))
    filled = np.clip(np.rint(255 * (mean + std * noise)), 0, 255).astype(np.uint8)
    pixels[:, top:bottom, left:right] = torch.from_numpy(filled)
