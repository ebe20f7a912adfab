"""Folders of files that are no results, each beside the checksums of what is in it.

The checksums are in ``SHA256SUMS``, which ``sha256sum --check`` reads too; a folder without that
file is not finished.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from klas.errors import StoreError
from klas.storage.files import new_folder, sync_files, write_whole
from klas.storage.store import Store

SUMS = "SHA256SUMS"


def seal(folder: Path) -> None:
    """Note the checksums of all files in a folder, once they are on the disk: it is finished.

    Raises:
        StoreError: it can't be written.
    """
    try:
        sync_files(folder)
        files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != SUMS)
        lines = [f"{_digest(file)}  {file.name}\n" for file in files]
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror or error})") from None
    write_whole(folder / SUMS, "".join(lines).encode())


def read_seal(folder: Path) -> Mapping[str, str] | None:
    """The checksums by file; None if the folder is not finished, or lacks one of the files."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        # By name only: what is noted can't lead outside of the folder.
        read = [re.fullmatch(r"([0-9a-f]{64})  ([^/\\]+)", line) for line in lines]
        noted = {line[2]: line[1] for line in read if line is not None}
        whole = bool(noted) and len(noted) == len(lines)
        return noted if whole and all((folder / name).is_file() for name in noted) else None
    except (OSError, UnicodeError):  # also of a name that no system takes
        return None


def is_whole(folder: Path) -> bool:
    """Whether the files of a folder are those that were written."""
    noted = read_seal(folder)
    try:
        return noted is not None and all(_digest(folder / n) == d for n, d in noted.items())
    except OSError:
        return False


def damaged(root: Path, *, may_be_unfinished: bool) -> list[str]:
    """Read all that is in a folder; the names of those that are not what was written.

    Args:
        may_be_unfinished: whether one without checksums is only not finished, and no damaged one.
    """
    named = (folder for folder in folders(root) if not folder.name.startswith("."))
    finished = (f for f in named if not may_be_unfinished or (f / SUMS).exists())
    return [folder.name for folder in finished if not is_whole(folder)]


def folders(root: Path) -> list[Path]:
    """Those in a folder, in order; none where there is no such folder."""
    with suppress(OSError):
        return sorted(root.iterdir())
    return []


def taken_bytes(root: Path) -> int:
    """What a folder takes, with what a killed process left unfinished."""
    taken = 0
    for path in root.rglob("*"):
        with suppress(OSError):  # it may go while one looks
            taken += path.stat().st_size if path.is_file() else 0
    return taken


def delete_all(store: Store, name: str) -> int:
    """Delete what is in a folder of the store, unfinished or not; returns the bytes freed.

    Raises:
        StoreError: the store is read-only or cannot be changed.
    """
    before = taken_bytes(store.root / name)
    with store.lock(name):
        for folder in folders(store.root / name):
            discard(store, folder)
    return before


def discard(store: Store, folder: Path) -> None:
    """Delete a folder, if there is one, in one step: whoever is killed leaves it whole or gone.

    Raises:
        StoreError: the store is read-only or cannot be changed.
    """
    with store.writes(), new_folder(store.root / "tmp") as gone, suppress(FileNotFoundError):
        folder.replace(gone / folder.name)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
