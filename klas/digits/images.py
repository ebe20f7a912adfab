"""The digits scenes as data sets.

``klas/digits:train``, ``…:val`` and ``…:test`` have a class for every image,
``klas/digits-segmentation:train`` and so on one for every pixel.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from klas.digits.label_scenes import CHUNK as LABEL_CHUNK
from klas.digits.label_scenes import CLASS_NAMES, LABEL_SCENES_VERSION, label_scene_chunk
from klas.digits.scenes import (
    CHUNK,
    CLASSES,
    SCENES_VERSION,
    SPLITS,
    Split,
    scene_chunk,
    scene_labels,
)
from klas.errors import DataError

PREFIX = "klas/digits:"
SIZES: dict[Split, int] = {"train": 200_000, "val": 10_000, "test": 10_000}
LABEL_PREFIX = "klas/digits-segmentation:"
LABEL_SIZES: dict[Split, int] = {"train": 50_000, "val": 5_000, "test": 5_000}


class DigitScenes:
    """A split of the built-in digits. They are drawn a thousand at a time, when needed."""

    stored = False

    def __init__(self, split: Split) -> None:
        self._split: Split = split
        self.passed_over: Mapping[str, int] = {}
        self.labels = scene_labels(split, SIZES[split])
        self.class_names = tuple(str(digit) for digit in range(CLASSES))
        self.fingerprint = f"digits-scenes-{SCENES_VERSION}-{split}-{SIZES[split]}"

    def image(self, index: int) -> Image.Image:
        """Scene ``index`` as a greyscale picture."""
        images, _ = _drawn(self._split, index // CHUNK)
        return Image.fromarray(images[index % CHUNK])

    def where(self, index: int) -> str:
        """The scene's number."""
        return f"scene {index}"


class LabelledDigitScenes:
    """A split of the built-in digits with label maps. They are drawn when needed."""

    stored = False

    def __init__(self, split: Split) -> None:
        self._split: Split = split
        count = LABEL_SIZES[split]
        self.passed_over: Mapping[str, int] = {}
        self.labels: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self.class_names = CLASS_NAMES
        self.fingerprint = f"digits-label-scenes-{LABEL_SCENES_VERSION}-{split}-{count}"

    def image(self, index: int) -> Image.Image:
        """Scene ``index`` as a greyscale picture."""
        images, _ = _labelled(self._split, index // LABEL_CHUNK)
        return Image.fromarray(images[index % LABEL_CHUNK])

    def label_map(self, index: int) -> Image.Image:
        """The classes of its pixels, and :data:`klas.data.label_maps.VOID` at digits' edges."""
        _, maps = _labelled(self._split, index // LABEL_CHUNK)
        return Image.fromarray(maps[index % LABEL_CHUNK])

    def where(self, index: int) -> str:
        """The scene's number."""
        return f"scene {index}"


def open_digits(ref: str) -> DigitScenes:
    """A split by its reference, such as ``klas/digits:val``.

    Raises:
        DataError: there is no such split.
    """
    return DigitScenes(_split(ref, PREFIX))


def open_labelled_digits(ref: str) -> LabelledDigitScenes:
    """A split by its reference, such as ``klas/digits-segmentation:val``.

    Raises:
        DataError: there is no such split.
    """
    return LabelledDigitScenes(_split(ref, LABEL_PREFIX))


def _split(ref: str, prefix: str) -> Split:
    for split in SPLITS:
        if ref == prefix + split:
            return split
    names = ", ".join(prefix + split for split in SPLITS)
    raise DataError(f"{ref}: there is no such split; the built-in data are {names}")


@lru_cache(maxsize=256)  # 0.25 MB each: the whole training split fits
def _drawn(split: Split, chunk: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return scene_chunk(split, chunk)


@lru_cache(maxsize=128)  # 0.6 MB each: the whole training split fits
def _labelled(split: Split, chunk: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return label_scene_chunk(split, chunk)
