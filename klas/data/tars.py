"""Tar archives: one of class folders, a folder with one per class, or tars within a tar.

Labels are those of timm's ``ReaderImageInTar``; a test compares them. The reader is our own
because timm's reads an archive from end to end whenever it is opened (or trusts a pickle beside
it), keeps an object of a kilobyte per image, and shares open files between workers. This one
reads only the headers when it opens an archive, and an image is a place and a length in a file.
"""

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from klas.data.files import FileTable, Place
from klas.data.folders import check_classes
from klas.data.pictures import EXTENSIONS
from klas.errors import DataError
from klas.foreign import reading

MOST_NESTED = 16  # archives within each other; reading passes through all that are around


def find_tars(folder: Path) -> list[Path]:
    """The archives of a folder that holds archives and no folders; otherwise none.

    Raises:
        DataError: the folder can't be opened.
    """
    tars = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    return []
                if entry.name.lower().endswith(".tar"):
                    tars.append(Path(entry.path))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    return sorted(tars)


def list_tars(root: Path, tars: Sequence[Path]) -> FileTable:
    """The table of all images in the archives.

    Raises:
        DataError: one is not a plain tar file or is cut off, or
            :func:`klas.data.folders.check_classes` refuses the table.
    """
    listing = _Listing()
    for file in tars:
        # A single archive stands for the data set's folder; one of several is a folder in it.
        inside = "" if file == root else file.stem
        listing.archive = str(file)
        if inside:
            listing.folders.add(inside)
        with (
            reading(DataError, f"{file}: is not a readable tar file", "pack it again"),
            tarfile.open(file, mode="r:") as archive,
        ):
            listing.skim(archive, inside, 0)
    full = {place.path for place in listing.table.places}
    parents = {above for path in full | listing.folders for above in _above(path)}
    empty = sorted(listing.folders - full - parents)
    check_classes(root, listing.table, empty)
    return listing.table


class _Listing:
    """The images and folders in the archives that were read so far."""

    def __init__(self) -> None:
        self.table = FileTable()
        self.folders: set[str] = set()
        self.archive = ""
        self._depth = 0
        self._numbers: dict[Place, int] = {}

    def skim(self, archive: tarfile.TarFile, inside: str, start: int) -> None:
        """Add the members of an archive that begins at byte ``start`` of its file."""
        others = self.table.passed_over
        behind = -1
        while (member := archive.next()) is not None:
            if archive.offset <= behind:  # a size below 0 would lead back, round and round
                raise tarfile.TarError(f"damaged at byte {start + member.offset}")
            behind = archive.offset
            archive.members = []  # type: ignore[attr-defined]  # or it would keep every header
            name = member.name.removeprefix("./").rstrip("/")
            folder, _, base = name.rpartition("/")
            if any(part.startswith(".") for part in name.split("/") if part):
                continue
            if not name:  # of the folder that was packed
                continue
            if member.isdir():
                self.folders.add(_joined(inside, name))
            elif member.isreg():
                ending = os.path.splitext(base)[1].lower()
                if ending == ".tar":
                    self._skim_inner(archive, member, _joined(inside, name[: -len(ending)]), start)
                elif ending not in EXTENSIONS:
                    others[ending or "without ending"] += 1
                elif member.issparse():
                    raise tarfile.TarError(f"{name} is stored with holes; pack it again")
                else:
                    place = Place(path=_joined(inside, folder), archive=self.archive)
                    if place not in self._numbers:
                        self._numbers[place] = len(self.table.places)
                        self.table.places.append(place)
                    number = self._numbers[place]
                    encoded = os.fsencode(base)
                    self.table.add(number, encoded, member.size, start + member.offset_data)
            else:
                others["links" if member.issym() or member.islnk() else "pipes and devices"] += 1

        # Python's tarfile takes a damaged header for the end of the archive.
        file = archive.fileobj
        if file is not None:
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.TarError(f"damaged at byte {start + archive.offset}")

    def _skim_inner(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, inside: str, start: int
    ) -> None:
        if self._depth == MOST_NESTED:
            raise DataError(
                f"{self.archive}: holds archives within archives, more than {MOST_NESTED} deep; "
                "unpack the inner ones"
            )
        self.folders.add(inside)
        self._depth += 1
        with (
            archive.extractfile(member) as file,  # type: ignore[union-attr]  # it is a file
            tarfile.open(fileobj=file, mode="r:") as inner,
        ):
            self.skim(inner, inside, start + member.offset_data)
        self._depth -= 1


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}".strip("/")


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:k]) for k in range(1, len(parts))]
