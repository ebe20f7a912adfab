"""Exported networks in the cache folder: files made from results, which may be deleted any time.

Each is one file in a folder of its own under ``exports/``, beside ``SHA256SUMS``, which
``sha256sum --check`` reads too.
"""

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from klas.storage.files import made_beside
from klas.storage.store import Store

FOLDER = "exports"
SUMS = "SHA256SUMS"


@dataclass(frozen=True, kw_only=True)
class StoredExport:
    """An exported network: its file, and the checksum that was noted."""

    path: Path
    sha256: str

    def is_whole(self) -> bool:
        """Whether the file is the one that was written."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


@contextmanager
def storing_export(store: Store, name: str) -> Iterator[Path]:
    """An empty folder, in which the caller makes one file; it is kept whole or not at all.

    What was there under this name is replaced.

    Raises:
        StoreError: the folder is read-only or cannot be written.
    """
    folder = store.root / FOLDER / name
    with store.lock(f"export-{name}"):
        shutil.rmtree(folder, ignore_errors=True)
        with made_beside(folder) as fresh:
            fresh.mkdir()
            yield fresh
            (file,) = fresh.iterdir()
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            (fresh / SUMS).write_text(f"{digest}  {file.name}\n", encoding="utf-8")


def stored_export(store: Store, name: str) -> StoredExport | None:
    """The export of this name; None if there is none that is complete."""
    folder = store.root / FOLDER / name
    try:
        noted = (folder / SUMS).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return None
    # By name only: what is noted can't lead outside of the folder.
    read = re.fullmatch(r"([0-9a-f]{64})  ([^/\\\n]+)\n", noted)
    if read is None or not (folder / read[2]).is_file():
        return None
    return StoredExport(path=folder / read[2], sha256=read[1])


def export_names(store: Store) -> list[str]:
    """The names of all, in order."""
    return [folder.name for folder in _folders(store) if not folder.name.startswith(".")]


def export_bytes(store: Store) -> int:
    """What they take, with what a killed process left unfinished."""
    taken = 0
    for path in (store.root / FOLDER).rglob("*"):
        with suppress(OSError):  # it may go while one looks
            taken += path.stat().st_size if path.is_file() else 0
    return taken


def verify_exports(store: Store) -> list[str]:
    """Read every one and compare its checksum; returns the names of those that are damaged.

    These are deleted, if the folder lets one: each can be made again.
    """
    kept = [(name, stored_export(store, name)) for name in export_names(store)]
    damaged = [name for name, export in kept if export is None or not export.is_whole()]
    if not store.read_only:
        for name in damaged:
            shutil.rmtree(store.root / FOLDER / name, ignore_errors=True)
    return damaged


def delete_exports(store: Store) -> int:
    """Delete all, and what was left unfinished; returns the bytes freed.

    Raises:
        StoreError: the folder is read-only.
        OSError: it cannot be changed.
    """
    before = export_bytes(store)
    with store.lock(FOLDER):
        for folder in _folders(store):
            shutil.rmtree(folder)
    return before


def _folders(store: Store) -> list[Path]:
    with suppress(OSError):
        return sorted((store.root / FOLDER).iterdir())
    return []
