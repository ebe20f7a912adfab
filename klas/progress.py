"""Where progress is reported: to a terminal, a status file, or nowhere."""

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of stages, one after another."""

    def start(self, stage: str, unit: str, total: int, done: int = 0) -> None:
        """A stage begins, with ``total`` units to do; 0 if all of it is cached.

        Args:
            done: how many an earlier process did, of what is resumed in the middle.
        """
        ...

    def label(self, text: str) -> None:
        """Which part of the stage is being worked on."""
        ...

    def advance(self, amount: int) -> None:
        """``amount`` more units are done."""
        ...


class Silent:
    """Reports nowhere."""

    def start(self, stage: str, unit: str, total: int, done: int = 0) -> None:
        """Do nothing."""

    def label(self, text: str) -> None:
        """Do nothing."""

    def advance(self, amount: int) -> None:
        """Do nothing."""
