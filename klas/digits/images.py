"""The digits scenes as a data set: ``klas/digits:train``, ``…:val`` and ``…:test``."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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


def open_digits(ref: str) -> DigitScenes:
    """A split by its reference, such as ``klas/digits:val``.

    Raises:
        DataError: there is no such split.
    """
    for split in SPLITS:
        if ref == PREFIX + split:
            return DigitScenes(split)
    names = ", ".join(PREFIX + split for split in SPLITS)
    raise DataError(f"{ref}: there is no such split; the built-in data are {names}")


@lru_cache(maxsize=256)  # 0.25 MB each: the whole training split fits
def _drawn(split: Split, chunk: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return scene_chunk(split, chunk)
