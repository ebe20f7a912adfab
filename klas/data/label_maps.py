"""Images whose every pixel has a class: a folder of images beside one of label maps.

``images/…/a.jpg`` belongs to ``labels/…/a.png``. A label map is a grey or paletted picture of the
image's size, whose pixels are class numbers. The names of the classes are lines of a text file.
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from klas.data.files import FileTable, listed
from klas.data.folders import files_below
from klas.data.images import Images, collection
from klas.data.pictures import FORMATS, UnreadableError, decoded
from klas.errors import DataError

VOID = 255
"""What pixels that count nowhere are in the maps that networks are compared with."""

IMAGES, LABELS = "images", "labels"

_CLASS_NUMBERS = ("1", "L", "P")  # the modes of pictures that hold a number up to 255 a pixel


@runtime_checkable
class LabelMaps(Images, Protocol):
    """Pictures by number, and the class of their every pixel.

    Attributes:
        labels: (N,) zeros: as a whole no picture has a class.
        class_names: by class number.
    """

    def label_map(self, index: int) -> Image.Image:
        """The classes of a picture's pixels, in mode L and of its size; :data:`VOID` for none.

        Raises:
            UnreadableError: the file is not a readable picture.
            DataError: it is not a map of this picture, or has classes beyond the list.
        """
        ...


def open_label_maps(ref: str, *, classes: str | None, void: int) -> LabelMaps:
    """Open a data set of images and label maps.

    Args:
        ref: a folder that holds the folders ``images`` and ``labels``, or a reference of a
            registered collection, which has class names of its own.
        classes: the text file of their names, a class per line, the first being number 0.
        void: the number of pixels that count nowhere.

    Raises:
        DataError: there is nothing under that name, an image has no label map or one too many, or
            the classes can't be read.
    """
    opened = collection(ref)
    if opened is None:
        return LabelFolder(Path(ref), classes=read_classes(ref, classes), void=void)
    if not isinstance(opened, LabelMaps):
        raise DataError(f"{ref}: has a class for every image, not for every pixel of one")
    return opened


def read_classes(ref: str, file: str | None) -> tuple[str, ...]:
    """The names in a text file, a class per line.

    Args:
        ref: the data set, for the sentence.

    Raises:
        DataError: there is no file, or it can't be read, or names fewer than two classes, or more
            than 255, or one of them twice.
    """
    if file is None:
        raise DataError(
            f"{ref}: the names of its classes are not known; set [data] classes to a text file "
            "with a class per line, the first being number 0"
        )
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: is not UTF-8 text") from None
    names = tuple(line.strip() for line in lines)
    twice = sorted({name for name in names if names.count(name) > 1})
    if "" in names:
        raise DataError(f"{file}: line {names.index('') + 1} is empty; give each class a name")
    if twice:
        raise DataError(f"{file}: names {listed(twice)} twice; give each class a name of its own")
    if not 2 <= len(names) <= VOID:
        raise DataError(f"{file}: names {len(names)} classes; there can be 2 to {VOID}")
    return names


class LabelFolder:
    """The images and label maps of a folder, as :class:`LabelMaps` describes them."""

    stored = True

    def __init__(self, root: Path, *, classes: tuple[str, ...], void: int) -> None:
        for name in (IMAGES, LABELS):
            if not os.path.isdir(os.path.join(root, name)):
                raise DataError(
                    f"{root}: holds no folder {name!r}; name a folder with the images in "
                    f"{IMAGES!r} and, under the same names, their label maps in {LABELS!r}"
                )
        if void < len(classes):
            raise DataError(
                f"{root}: [data] void = {void} is the class {classes[void]!r}; give the number of "
                "the pixels that count nowhere, or 255 if there are none"
            )
        self._root = root
        self._void = void
        self._images, _ = files_below(root, IMAGES)
        self._maps, _ = files_below(root, LABELS)
        self._map_of = _matched(root, self._images, self._maps)
        self.class_names = classes
        self.labels: NDArray[np.int64] = np.zeros(len(self._images), dtype=np.int64)
        self.fingerprint = self._fingerprint()
        self.passed_over: Mapping[str, int] = dict(
            sorted((self._images.passed_over + self._maps.passed_over).items())
        )

    def image(self, index: int) -> Image.Image:
        """One picture, decoded.

        Raises:
            UnreadableError: the file is not a readable image.
        """
        return decoded(io.BytesIO(_content(self._root, self._images, index)), self._path(index))

    def where(self, index: int) -> str:
        """The path within the data set."""
        return self._images.path(index)

    def label_map(self, index: int) -> Image.Image:
        """The classes of a picture's pixels, as :class:`LabelMaps` describes it."""
        at = self._map_of[index]
        path = os.path.join(self._root, self._maps.path(at))
        numbers = _numbers(_content(self._root, self._maps, at), path)
        with Image.open(io.BytesIO(_content(self._root, self._images, index))) as picture:
            size = picture.size
        if numbers.shape != size[::-1]:
            raise DataError(
                f"{path}: is a map of {numbers.shape[1]}×{numbers.shape[0]} pixels, but its image "
                f"has {size[0]}×{size[1]}; save it at the image's size"
            )
        classes = np.where(numbers == self._void, VOID, numbers).astype(np.uint8)
        beyond = classes[(classes >= len(self.class_names)) & (numbers != self._void)]
        if beyond.size:
            raise DataError(
                f"{path}: has a pixel of class {beyond.max()}, but the classes are 0 to "
                f"{len(self.class_names) - 1}; add its name to the file of [data] classes, or set "
                "[data] void if such pixels count nowhere"
            )
        return Image.fromarray(classes)

    def _path(self, index: int) -> str:
        return os.path.join(self._root, self._images.path(index))

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(b"klas-label-maps-1")
        for table in (self._images, self._maps):
            digest.update(table.fingerprint(self._root).encode())
        digest.update(json.dumps([self.class_names, self._void]).encode())
        return digest.hexdigest()


def _matched(root: Path, images: FileTable, maps: FileTable) -> list[int]:
    """The number of each image's label map."""
    names = {_name(images.path(k)): images.path(k) for k in range(len(images))}
    of_name = {_name(maps.path(k)): k for k in range(len(maps))}
    if not names:
        raise DataError(f"{root}: the folder {IMAGES!r} holds no images")
    for table, unique in ((images, len(names)), (maps, len(of_name))):
        if unique < len(table):
            paths = [table.path(k) for k in range(len(table))]
            same = [p for p in paths if sum(_name(p) == _name(other) for other in paths) > 1]
            raise DataError(f"{root}: {listed(same)} have the same name; keep one of them")
    without = [path for name, path in names.items() if name not in of_name]
    if without:
        raise DataError(
            f"{root}: {len(without)} of {len(names)} images have no label map ({listed(without)}); "
            f"put a map of the same name in {LABELS!r}, or leave the image out"
        )
    alone = [maps.path(k) for name, k in of_name.items() if name not in names]
    if alone:
        raise DataError(
            f"{root}: {len(alone)} label maps belong to no image ({listed(alone)}); put the image "
            f"of the same name in {IMAGES!r}, or leave the map out"
        )
    return [of_name[name] for name in names]


def _name(path: str) -> str:
    """Of an image and its map alike: the path below their folders, without the ending."""
    return os.path.splitext(path.partition("/")[2])[0]


def _content(root: Path, table: FileTable, index: int) -> bytes:
    try:
        return table.read(root, index)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(os.path.join(root, table.path(index)), reason) from None


def _numbers(content: bytes, path: str) -> NDArray[np.uint8]:
    """(H, W) the numbers that a picture's pixels are, in a paletted one those of the palette."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            picture.load()
            mode, numbers = picture.mode, np.asarray(picture)
    except Exception as error:  # each of Pillow's readers has its own errors
        raise UnreadableError(path, str(error) or type(error).__name__) from None
    if mode not in _CLASS_NUMBERS:
        raise DataError(
            f"{path}: is a picture of mode {mode}, not of class numbers; save it as a grey or "
            "paletted picture of 8 bits"
        )
    return numbers.astype(np.uint8)
