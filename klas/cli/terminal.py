"""The progress of a run on a terminal: a bar per stage, with rate and time left."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    """Units per second over the last moments."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s", style="cyan")


class TerminalProgress:
    """A bar per stage on standard error; in a log file, a line per stage."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.fields[stage]:>10}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[label]}", style="dim", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def start(self, stage: str, unit: str, total: int, done: int = 0) -> None:
        """Open a stage's bar; a cached stage gets a full one."""
        if self._bars.disable:
            print(f"{stage}: {f'{total:,} {unit}' if total else 'cached'}", file=sys.stderr)
        if self._task is not None:
            self._bars.update(self._task, label="")
        self._task = self._bars.add_task(
            "",
            stage=stage,
            unit=unit if total else "cached",
            label="",
            total=max(total, 1),
            completed=done if total else 1,
        )

    def label(self, text: str) -> None:
        """Show beside the bar what is being computed."""
        if self._task is not None:
            self._bars.update(self._task, label=text)

    def advance(self, amount: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.advance(self._task, amount)
