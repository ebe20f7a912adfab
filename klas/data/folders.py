"""Class folders: every image below a folder, labelled by the folder that it lies in.

The rules are timm's (``ReaderImageFolder``: by the last folder's name, at any depth, through
links), and a test compares the two; but images are what Pillow reads, not PNG and JPEG alone. Where
timm is silent this refuses: images without a class folder, folders without images, folders that
can't be opened. Names that begin with a dot (``.ipynb_checkpoints``, ``._0.jpg``) are ignored.
"""

import os
import re
import stat
from collections import Counter
from pathlib import Path

from klas.data.files import FileTable, Place, listed
from klas.data.pictures import EXTENSIONS
from klas.errors import DataError

_KNOWN = ".jpg, .png, .webp, .tif or another ending that Pillow knows"
_FLAT_IMAGENET = re.compile(r"(?:.*/)?ILSVRC2012_val_\d{8}\.jpe?g", re.IGNORECASE)


def list_folder(root: Path) -> FileTable:
    """The table of all images below ``root``, in a fixed order.

    Raises:
        DataError: there are none, some lie in no class folder, a class folder is empty, or a
            folder can't be opened.
    """
    table, empty = files_below(root)
    check_classes(root, table, empty)
    return table


def files_below(root: Path, start: str = "") -> tuple[FileTable, list[str]]:
    """All images in a folder of ``root``, in a fixed order, and the folders there without any.

    Raises:
        DataError: a folder can't be opened, or is a link to one above it.
    """
    table = FileTable()
    empty: list[str] = []
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(start, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        files, folders, other = _scan(root, folder)
        table.passed_over += other
        here = _identity(root, folder)
        if here in above:
            raise DataError(f"{root}/{folder}: is a link to a folder above it; remove the link")
        waiting += [
            (f"{folder}/{name}" if folder else name, above | {here})
            for name in sorted(folders, reverse=True)
        ]
        if files:
            table.places.append(Place(path=folder))
            for name, size in sorted(files):
                table.add(len(table.places) - 1, name, size)
        elif not folders and folder:
            empty.append(folder)
    return table, empty


def check_classes(root: Path, table: FileTable, empty: list[str]) -> None:
    """Refuse a table that has no images, images without a class, or a class without images.

    Args:
        root: the data set's folder or file, for the sentence.
        table: its images.
        empty: folders without images.

    Raises:
        DataError: it has one of these faults.
    """
    if not len(table):
        others = table.passed_over
        common = f" (only {others.most_common(1)[0][0]} files)" if others else ""
        raise DataError(
            f"{root}: holds no images in class folders{common}; name a folder that holds a folder "
            f"of images ({_KNOWN}) per class"
        )
    first = table.path(0)
    if len(table.places) == 1 and _FLAT_IMAGENET.fullmatch(first):
        raise DataError(
            f"{root}: is the flat validation folder of ImageNet, whose file names "
            f"({first}, …) do not say the class; move each image into a folder named by its "
            "WordNet id (n01440764, …), as the usual valprep script does"
        )
    if not table.places[0].path:
        loose = int((table.place_numbers() == 0).sum())
        raise DataError(
            f"{root}: {loose} of its images lie in no class folder ({first}, …); move each into "
            "a folder named by its class"
        )
    if empty:
        raise DataError(
            f"{root}: no image ({_KNOWN}) is in the class folder{'s' if len(empty) > 1 else ''} "
            f"{listed(sorted(empty))}; fill or remove what is empty"
        )


def _scan(root: Path, folder: str) -> tuple[list[tuple[bytes, int]], list[str], Counter[str]]:
    """One folder's images with their sizes, its folders, and the endings of all other files."""
    files: list[tuple[bytes, int]] = []
    folders: list[str] = []
    others: Counter[str] = Counter()
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                    continue
                ending = os.path.splitext(entry.name)[1].lower()
                size = _size(entry)
                if ending not in EXTENSIONS:
                    others[ending or "without ending"] += 1
                elif size is None:
                    others["pipes and devices"] += 1
                else:
                    files.append((os.fsencode(entry.name), size))
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return files, folders, others


def _size(entry: os.DirEntry[str]) -> int | None:
    """A file's bytes; -1 for a broken link; None for anything but a file (a pipe would hang)."""
    try:
        status = entry.stat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _identity(root: Path, folder: str) -> tuple[int, int]:
    status = os.stat(os.path.join(root, folder))
    return status.st_dev, status.st_ino
