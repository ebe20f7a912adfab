"""Open a data set by its reference; and what every data set offers."""

import os
from collections.abc import Callable, Mapping
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
from klas.errors import DataError

_COLLECTIONS: dict[str, Callable[[str], "Images"]] = {}
_STREAMS = ("hfids/", "tfds/", "wds/", "torch/")


class Images(Protocol):
    """A data set: pictures by number, and their classes.

    Attributes:
        labels: (N,) the class of every picture, an index into ``class_names``.
        class_names: in the order of timm's readers (numbers inside a name count as numbers).
        fingerprint: the same for the same files, wherever they lie.
        stored: whether images are decoded from files, so that some may be damaged and several
            threads pay off; otherwise they are drawn.
        passed_over: how many files beside the pictures are no pictures by their names, by ending.
    """

    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    fingerprint: str
    stored: bool
    passed_over: Mapping[str, int]

    def image(self, index: int) -> Image.Image:
        """One picture, decoded, in 8 bits.

        Raises:
            DataError: the file is not a readable image.
        """
        ...

    def where(self, index: int) -> str:
        """The picture's name for people: its path within the data set."""
        ...


def register_collection(prefix: str, opener: Callable[[str], Images]) -> None:
    """Let ``opener`` open every reference that begins with ``prefix``; it is given all of it.

    A package can bring images of its own this way, as :mod:`klas.digits` does.
    """
    _COLLECTIONS[prefix] = opener


def collection(ref: str) -> Images | None:
    """The data set of a registered collection; None where a reference is of none."""
    opener = next((each for prefix, each in _COLLECTIONS.items() if ref.startswith(prefix)), None)
    return None if opener is None else opener(ref)


def open_images(ref: str) -> Images:
    """Open a data set: what ``timm.data.create_dataset`` takes, if its rows have numbers.

    Args:
        ref: a folder with one folder of images per class; a ``.tar`` file of such folders, or a
            folder of one ``.tar`` per class; ``hfds/owner/name:split`` of the Hugging Face hub;
            or a reference of a registered collection.

    Raises:
        DataError: there is nothing under that name, or nothing that can be used.
    """
    if (opened := collection(ref)) is not None:
        return opened
    if ref.startswith(HUB):
        return HubImages(ref)
    path = Path(ref)
    if os.path.isdir(ref):  # false for an impossible name, where Path would raise
        tars = find_tars(path)
        return FileImages(path, list_tars(path, tars) if tars else list_folder(path))
    if os.path.isfile(ref):
        if path.suffix.lower() == ".tar":
            return FileImages(path, list_tars(path, [path]))
        raise DataError(
            f"{ref}: is neither a folder nor a .tar file (a compressed one cannot be read by "
            "number); unpack it and name the folder that holds a folder per class"
        )
    if ref.startswith(_STREAMS):
        raise DataError(
            f"{ref}: is read as a stream, but KLAS looks at chosen rows; take a folder with a "
            f"folder per class, a .tar of one, or {HUB}owner/name:split"
        )
    raise DataError(f"{ref}: there is no such folder; name one that holds a folder per class")
