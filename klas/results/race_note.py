"""What the rungs of a race measured so far, for whoever watches it. No torch here.

It is no result: the race itself goes on from its checkpoint, and says at its end what it measured.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from klas.errors import KlasError
from klas.storage.files import write_whole
from klas.storage.key import Key
from klas.storage.records import parsed
from klas.storage.store import Store


class Rung(TypedDict):
    """A rung: after how many steps, and the accuracy of each stitch that was left, by ``"i-j"``."""

    step: int
    accuracy: dict[str, float]


_RUNGS = TypeAdapter(list[Rung])


@dataclass(frozen=True)
class RaceNote:
    """The file."""

    path: Path

    def rungs(self) -> list[Rung]:
        """What was measured so far, in order; nothing where there is no race on its way."""
        try:
            return _RUNGS.validate_python(parsed(self.path.read_bytes()))
        except (OSError, ValueError):
            return []

    def add(self, step: int, accuracy: Mapping[str, float]) -> None:
        """Note a rung. A race that goes on from its checkpoint may hold one again."""
        before = [rung for rung in self.rungs() if rung["step"] < step]
        rungs = [*before, Rung(step=step, accuracy=dict(accuracy))]
        with suppress(KlasError, OSError):  # nobody may be watching
            write_whole(self.path, json.dumps(rungs).encode())

    def remove(self) -> None:
        """The race is over."""
        with suppress(OSError):
            self.path.unlink()


def race_note(store: Store, key: Key) -> RaceNote:
    """The note of a race, by the key of its result."""
    return RaceNote(store.root / "tmp" / f"{key.digest}.race.json")
