"""Exported networks in the cache folder: files made from results, which may be deleted any time.

Each is one file in a folder of its own under ``exports/``, beside its checksum.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from klas.storage.files import move, new_folder
from klas.storage.sealed import discard, folders, is_whole, read_seal, seal, taken_bytes
from klas.storage.store import Store

FOLDER = "exports"


@dataclass(frozen=True, kw_only=True)
class StoredExport:
    """An exported network: its file, and the checksum that was noted."""

    path: Path
    sha256: str

    def is_whole(self) -> bool:
        """Whether the file is the one that was written."""
        return is_whole(self.path.parent)


@contextmanager
def storing_export(store: Store, name: str) -> Iterator[Path]:
    """An empty folder, in which the caller makes one file; it is kept whole or not at all.

    What was there under this name is replaced.

    Raises:
        StoreError: the folder is read-only or cannot be written.
    """
    folder, scratch = store.root / FOLDER / name, store.root / "tmp"
    with store.writes(), store.lock(f"export-{name}"), new_folder(scratch) as fresh:
        yield fresh
        seal(fresh)
        folder.parent.mkdir(exist_ok=True)
        discard(store, folder)
        move(fresh, folder)


def stored_export(store: Store, name: str) -> StoredExport | None:
    """The export of this name; None if there is none that is complete."""
    folder = store.root / FOLDER / name
    noted = read_seal(folder)
    if noted is None or len(noted) != 1:
        return None
    ((file, digest),) = noted.items()
    return StoredExport(path=folder / file, sha256=digest)


def export_names(store: Store) -> list[str]:
    """The names of all, in order."""
    every = folders(store.root / FOLDER)
    return [folder.name for folder in every if not folder.name.startswith(".")]


def export_bytes(store: Store) -> int:
    """What they take, with what a killed process left unfinished."""
    return taken_bytes(store.root / FOLDER)
