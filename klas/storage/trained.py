"""Elastic networks that were trained from the app, in the cache folder.

Each has a folder of its own under ``trained/``: the list that was trained, the curves, a checkpoint
while it is trained, and then the network with the checksums of all files. No result is made of
them, so they stay until somebody deletes them.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from klas.storage.sealed import folders, read_seal, taken_bytes
from klas.storage.store import Store

FOLDER = "trained"
LIST = "stitches.json"
"""The list, from when the training was asked for."""


@dataclass(frozen=True, kw_only=True)
class StoredTraining:
    """A training, finished or not: its name, which is its job's too, and its folder."""

    name: str
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether the network is there."""
        return read_seal(self.folder) is not None


def training_folder(store: Store, name: str) -> Path:
    """Where the training of a job is kept."""
    return store.root / FOLDER / name


def stored_trainings(store: Store) -> list[StoredTraining]:
    """Every training, the one that was asked for last first."""
    asked: list[tuple[float, StoredTraining]] = []
    for folder in folders(store.root / FOLDER):
        with suppress(OSError):  # without its list it is none
            when = (folder / LIST).stat().st_mtime
            asked.append((when, StoredTraining(name=folder.name, folder=folder)))
    return [one for _, one in sorted(asked, key=lambda one: -one[0])]


def trained_bytes(store: Store) -> int:
    """What they take."""
    return taken_bytes(store.root / FOLDER)
