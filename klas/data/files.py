"""Image files in folders or tar archives: a compact table of them, their fingerprint, reading.

A million files take some 60 MB here; one object per file, or timm's list of paths and tar headers,
would take many times that. Nothing changes after opening, so any number of threads may read.
"""

import hashlib
import io
import json
import os
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.utils.misc import natural_key

from klas.data.pictures import UnreadableError, decoded, is_deep

SAMPLED_FILES = 256
SAMPLED_BYTES = 4096
DEEP = b"\0grey by its high byte"
"""Part of a fingerprint if a picture is deep: earlier versions cut off such pixels at 255."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder that holds images.

    Attributes:
        path: of the folder within the data set or archive, with slashes.
        archive: the tar file that it is in, if it is in one.
    """

    path: str
    archive: str | None = None

    @property
    def class_name(self) -> str:
        """The last folder's name, as timm's readers label."""
        return self.path.rpartition("/")[2]


class FileTable:
    """Files by number, in a few arrays. It is filled place by place and then only read.

    Attributes:
        places: the folders that they lie in.
        passed_over: how many files beside them are no images, by ending.
    """

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.passed_over: Counter[str] = Counter()
        self._place = array("i")  # (N,) which place
        self._names = bytearray()  # all names, one after the other
        self._ends = array("q", [0])  # (N + 1,) where each one begins and ends
        self._sizes = array("q")  # (N,) bytes; -1 where it is not known
        self._offsets = array("q")  # (N,) where the content begins; 0 outside archives

    def __len__(self) -> int:
        return len(self._place)

    def add(self, place: int, name: bytes, size: int, offset: int = 0) -> None:
        """Append one file of ``places[place]``."""
        self._place.append(place)
        self._names += name
        self._ends.append(len(self._names))
        self._sizes.append(size)
        self._offsets.append(offset)

    def place_numbers(self) -> NDArray[np.int32]:
        """(N,) the place of every file."""
        return np.frombuffer(self._place, dtype=np.int32)

    def path(self, index: int) -> str:
        """The file's path within the data set."""
        name = bytes(self._names[self._ends[index] : self._ends[index + 1]])
        folder = self.places[self._place[index]].path
        return os.fsdecode(name) if not folder else f"{folder}/{os.fsdecode(name)}"

    def read(
        self, root: Path, index: int, limit: int | None = None, *, tail: bool = False
    ) -> bytes:
        """The content, or its first (or last) ``limit`` bytes.

        Raises:
            OSError: the file is gone or may not be opened.
        """
        archive = self.places[self._place[index]].archive
        file = os.path.join(root, self.path(index) if archive is None else archive)
        size = self._sizes[index]
        length = size if limit is None else min(limit, size)
        with open(file, "rb") as content:
            content.seek(self._offsets[index] + (size - length if tail else 0))
            # A plain file is read to its end, whatever size it had when it was listed.
            return content.read(length if archive is not None or limit is not None else -1)

    def fingerprint(self, root: Path) -> str:
        """SHA-256 of every relative path and size, and of parts of up to 256 files' content.

        The first and last 4 KiB count of 256 files spread evenly over the table, so opening a
        million files takes no longer than listing them. A change in another file is noticed if
        its size or name changes. Modification times are left out on purpose: when the same images
        are copied or unpacked elsewhere, every result must be found again.
        """
        digest = hashlib.sha256(b"klas-files-1")
        digest.update(json.dumps([place.path for place in self.places]).encode())
        for column in (self.place_numbers().astype("<i4"), self._ends, self._sizes):
            digest.update(np.asarray(column).astype("<i8").tobytes())
        digest.update(self._names)
        sampled = np.linspace(0, len(self) - 1, min(SAMPLED_FILES, len(self))).astype(int)
        deep = False
        for index in sampled.tolist():
            for tail in (False, True):
                try:
                    part = self.read(root, index, SAMPLED_BYTES, tail=tail)
                except (OSError, ValueError):
                    part = b"\0unreadable\0"
                digest.update(part)
                deep = deep or (not tail and is_deep(part))
        if deep:
            digest.update(DEEP)
        return digest.hexdigest()


class FileImages:
    """The images of a table of files, as :class:`klas.data.images.Images` describes them."""

    stored = True

    def __init__(self, root: Path, table: FileTable) -> None:
        self._root = root
        self._table = table
        names = [place.class_name for place in table.places]
        # timm's order; where only the case differs, the name itself decides.
        self.class_names = tuple(sorted(set(names), key=lambda name: (natural_key(name), name)))
        numbers = {name: k for k, name in enumerate(self.class_names)}
        class_of_place = np.array([numbers[name] for name in names], dtype=np.int64)
        self.labels = class_of_place[table.place_numbers()]
        self.fingerprint = table.fingerprint(root)
        self.passed_over: Mapping[str, int] = dict(sorted(table.passed_over.items()))

    def image(self, index: int) -> Image.Image:
        """One picture, decoded.

        Raises:
            UnreadableError: the file is not a readable image.
        """
        try:
            content = self._table.read(self._root, index)
        except (OSError, ValueError) as error:
            raise UnreadableError(self._path(index), _reason(error)) from None
        return decoded(io.BytesIO(content), self._path(index))

    def where(self, index: int) -> str:
        """The path within the data set."""
        return self._table.path(index)

    def _path(self, index: int) -> str:
        return os.path.join(self._root, self._table.path(index))


def listed(names: Sequence[str], most: int = 5) -> str:
    """A few names for a sentence, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
