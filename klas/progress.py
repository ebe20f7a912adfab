"""Who is told how far the work is: a terminal, a status file, or nobody."""

from typing import Protocol


class Progress(Protocol):
    """Told of every stage as it begins and goes on."""

    def start(self, stage: str, unit: str, total: int) -> None:
        """A stage begins that has ``total`` units to do; 0 when all of it was cached."""
        ...

    def label(self, text: str) -> None:
        """What of the stage is in hand."""
        ...

    def advance(self, amount: int) -> None:
        """So many units are done."""
        ...


class Silent:
    """Tells nobody."""

    def start(self, stage: str, unit: str, total: int) -> None:
        """Do nothing."""

    def label(self, text: str) -> None:
        """Do nothing."""

    def advance(self, amount: int) -> None:
        """Do nothing."""
