"""What a training writes about itself: ``log.csv``, its curves, while it runs. No torch here."""

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from klas.errors import StoreError

LOG = "log.csv"
NOTE = "training.json"
"""What a folder's training is: the list, the images and the recipe."""

COLUMNS = ("step", "member", "loss", "lr", "seconds", "accuracy")
"""Of every row. A step's has no accuracy, a measurement's has neither loss nor rate."""


class Log:
    """The file, open at its end."""

    def __init__(self, path: Path, done: int) -> None:
        """Open it; what an interrupted training wrote after its checkpoint is dropped.

        Args:
            done: the steps that the checkpoint holds.

        Raises:
            StoreError: it can't be written.
        """
        kept = [row for row in read_log(path) if int(row["step"]) <= done]
        before = max((float(row["seconds"]) for row in kept), default=0.0)
        self._began = time.monotonic() - before
        self._noted = {(row["step"], row["member"], row["accuracy"]) for row in kept}
        try:
            self._file: TextIO = path.open("w", encoding="utf-8", newline="", buffering=1)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
        self._rows = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        self._rows.writeheader()
        self._rows.writerows(kept)

    def step(self, step: int, member: str, loss: float, lr: float) -> None:
        """Note a step, counted from 1."""
        self._write(step=step, member=member, loss=f"{loss:.6g}", lr=f"{lr:.6g}")

    def accuracies(self, step: int, accuracy: Mapping[str, float]) -> None:
        """Note how members do after so many steps, unless one that was killed noted just that."""
        for member, value in accuracy.items():
            if (str(step), member, f"{value:.6g}") not in self._noted:
                self._write(step=step, member=member, accuracy=f"{value:.6g}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **row: object) -> None:
        self._rows.writerow(row | {"seconds": f"{time.monotonic() - self._began:.3f}"})


def read_log(path: Path) -> list[dict[str, str]]:
    """The whole rows of a log, by column; none where there is no such file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [row for row in csv.DictReader(whole) if row.keys() == set(COLUMNS)]
