"""A data set by its reference: what every source of images offers, and which one serves."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from klas.data.files import FileImages
from klas.data.folders import list_folder
from klas.data.hub import PREFIX as HUB
from klas.data.hub import HubImages
from klas.data.tars import find_tars, list_tars
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

DIGITS_SIZES: dict[Split, int] = {"train": 200_000, "val": 10_000, "test": 10_000}
_DIGITS = "klas/digits:"
_STREAMS = ("hfids/", "tfds/", "wds/", "torch/")


class Images(Protocol):
    """A data set: pictures by number, and their classes.

    Attributes:
        labels: (N,) the class of every picture, an index into ``class_names``.
        class_names: in the order of timm's readers (numbers inside a name count as numbers).
        fingerprint: the same for the same files, wherever they lie.
        stored: pictures are decoded from files, so that some may be damaged and several threads
            pay; else they are drawn, and sound.
    """

    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    fingerprint: str
    stored: bool

    def image(self, index: int) -> Image.Image:
        """One picture, decoded, as the file holds it.

        Raises:
            DataError: the file is no readable image.
        """
        ...

    def where(self, index: int) -> str:
        """What people call the picture: its path within the data set."""
        ...


class DigitScenes:
    """The built-in digits: scenes are drawn, by the thousand, when first asked for."""

    stored = False

    def __init__(self, split: Split) -> None:
        self._split: Split = split
        self.labels = scene_labels(split, DIGITS_SIZES[split])
        self.class_names = tuple(str(digit) for digit in range(CLASSES))
        self.fingerprint = f"digits-scenes-{SCENES_VERSION}-{split}-{DIGITS_SIZES[split]}"

    def image(self, index: int) -> Image.Image:
        """Scene ``index`` as a greyscale picture."""
        images, _ = _drawn(self._split, index // CHUNK)
        return Image.fromarray(images[index % CHUNK])

    def where(self, index: int) -> str:
        """Scenes have numbers."""
        return f"scene {index}"


@lru_cache(maxsize=256)  # 0.25 MB each: the whole training split fits
def _drawn(split: Split, chunk: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return scene_chunk(split, 0, chunk)


def open_images(ref: str) -> Images:
    """Open a data set: what ``timm.data.create_dataset`` takes, as far as rows have numbers.

    Args:
        ref: a folder with one folder of images per class; a ``.tar`` file of such folders, or a
            folder of one ``.tar`` per class; ``hfds/owner/name:split`` of the Hugging Face hub;
            or ``klas/digits:train|val|test``.

    Raises:
        DataError: there is nothing under that name, or nothing that can serve.
    """
    if ref.startswith(_DIGITS):
        for split in SPLITS:
            if ref == _DIGITS + split:
                return DigitScenes(split)
        names = ", ".join(_DIGITS + split for split in SPLITS)
        raise DataError(f"{ref}: there is no such split; the built-in data are {names}")
    if ref.startswith(HUB):
        return HubImages(ref)
    path = Path(ref)
    if os.path.isdir(ref):  # says no, where Path would raise, to what is no name at all
        tars = find_tars(path)
        return FileImages(path, list_tars(path, tars) if tars else list_folder(path))
    if os.path.isfile(ref):
        if path.suffix.lower() == ".tar":
            return FileImages(path, list_tars(path, [path]))
        raise DataError(
            f"{ref}: is no folder and no .tar file (a compressed one cannot be read by number); "
            "unpack it and name the folder that holds a folder per class"
        )
    if ref.startswith(_STREAMS):
        raise DataError(
            f"{ref}: is read as a stream, but KLAS looks at chosen rows; take a folder with a "
            f"folder per class, a .tar of one, or {HUB}owner/name:split"
        )
    raise DataError(f"{ref}: there is no such folder; name one that holds a folder per class")
