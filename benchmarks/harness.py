"""What all rows share: sides measured in turn, ratios with their spread, a table and JSON.

A row compares one side, ours, with named others. All of them are prepared first and then measured
in turn, several rounds long, so that whatever else the machine does falls on all alike; a ratio is
taken within a round, and its median counts.
"""

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from rich.console import Console
from rich.table import Table

Measure = Callable[[], float]
"""Does a side's work once and returns what it took, in the row's unit."""

Kind = Literal["times as fast", "times as long", "at most"]


@dataclass(frozen=True)
class Reach:
    """What a comparison has to reach.

    Attributes:
        kind: whether the other side's measure is divided by ours (``times as fast``, at least), or
            ours by the other side's (``times as long``, at most), or ours stands alone.
        limit: the least or the greatest value; None is shown without a limit.

    Examples:
        >>> Reach("times as fast", 10).value(0.5, 6.0), Reach("times as long", 1.15).met(1.2)
        (12.0, False)
    """

    kind: Kind
    limit: float | None = None

    def value(self, ours: float, other: float) -> float:
        """What is compared with the limit."""
        match self.kind:
            case "times as fast":
                return other / ours
            case "times as long":
                return ours / other
            case "at most":
                return ours

    def met(self, value: float) -> bool:
        """Whether a value reaches it."""
        if self.limit is None:
            return True
        return value >= self.limit if self.kind == "times as fast" else value <= self.limit


def faster(times: float | None = None) -> Reach:
    """At least so many times as fast as the other side; without a number, no limit."""
    return Reach("times as fast", times)


def within(times: float | None = None) -> Reach:
    """At most so many times what the other side takes; without a number, no limit."""
    return Reach("times as long", times)


def at_most(value: float | None = None) -> Reach:
    """Ours alone, in the row's unit; without a number, no limit."""
    return Reach("at most", value)


@dataclass(frozen=True)
class Claim:
    """Something else that must hold, such as how equal the results are.

    Attributes:
        what: what was measured.
        value: what it is.
        limit: the greatest value that it may have.
    """

    what: str
    value: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class Sides:
    """A row that is ready to be measured.

    Attributes:
        ours: the side of this package.
        others: the baselines, by the names under which the row has them.
        claims: called after the last round.
    """

    ours: Measure
    others: Mapping[str, Measure] = field(default_factory=dict)
    claims: Callable[[], list[Claim]] = list


@dataclass(frozen=True, kw_only=True)
class Row:
    """A declared comparison.

    Attributes:
        name: what picks it on the command line.
        what: our side, in words.
        reach: baseline in words → what must be reached against it. ``""`` is no baseline.
        sides: a generator function of a device and sizes; it yields once, then cleans up.
        sizes: kind of device (``cpu``, ``cuda``) → the keyword arguments of ``sides`` there; a row
            without an entry is not measured there.
        rounds: how often each side is measured.
        warm_up: whether each side runs once before, unmeasured.
        unit: of what a side returns: ``s``, ``ms`` or ``MB``.
    """

    name: str
    what: str
    reach: Mapping[str, Reach]
    sides: Callable[..., Iterator[Sides]]
    sizes: Mapping[str, Mapping[str, Any]]
    rounds: int = 5
    warm_up: bool = True
    unit: str = "s"


class NotMeasuredError(Exception):
    """Raised by a row's sides where they cannot run; its sentence says why."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One line of the table.

    Attributes:
        ours, other: the median of what each side took.
        median, lowest, highest: of the ratio, over the rounds.
    """

    row: Row
    baseline: str
    reach: Reach
    ours: float
    other: float | None
    median: float
    lowest: float
    highest: float

    @property
    def met(self) -> bool:
        """Whether the median reaches what it has to."""
        return self.reach.met(self.median)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a row; ``reason`` says why nothing was measured, if so."""

    row: Row
    comparisons: tuple[Comparison, ...] = ()
    claims: tuple[Claim, ...] = ()
    reason: str | None = None

    @property
    def met(self) -> bool:
        """Whether all that was measured reaches what it has to."""
        claims = all(claim.value <= claim.limit for claim in self.claims)
        return claims and all(comparison.met for comparison in self.comparisons)


def seconds_of(work: Callable[[], object], device: torch.device) -> Measure:
    """Measures the wall time of some work, until the device is done with it."""

    def measure() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    return measure


def measured(row: Row, device: torch.device) -> Outcome:
    """Measure a row's sides in turn, every second round in reversed order."""
    if device.type not in row.sizes:
        return Outcome(row=row, reason=f"has no sizes for {device.type}")
    try:
        with contextmanager(row.sides)(device, **row.sizes[device.type]) as sides:
            measures = {"": sides.ours, **sides.others}
            took: dict[str, list[float]] = {name: [] for name in measures}
            for count in range(-int(row.warm_up), row.rounds):
                for name in list(measures)[:: -1 if count % 2 else 1]:
                    gc.collect()  # the garbage of one side is not the other's
                    value = measures[name]()
                    if count >= 0:
                        took[name].append(value)
            claims = tuple(sides.claims())
    except NotMeasuredError as error:
        return Outcome(row=row, reason=str(error))
    compared = (_compared(row, baseline, took) for baseline in row.reach)
    return Outcome(row=row, comparisons=tuple(compared), claims=claims)


def _compared(row: Row, baseline: str, took: Mapping[str, list[float]]) -> Comparison:
    reach = row.reach[baseline]
    values = [reach.value(*taken) for taken in zip(took[""], took[baseline])]
    return Comparison(
        row=row,
        baseline=baseline,
        reach=reach,
        ours=statistics.median(took[""]),
        other=statistics.median(took[baseline]) if baseline else None,
        median=statistics.median(values),
        lowest=min(values),
        highest=max(values),
    )


def environment(device: torch.device) -> dict[str, Any]:
    """What the figures depend on beside the code: machine and versions."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "klas": version("klas"),
        },
    }


def _processor() -> str:
    """The processor's own name where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def to_json(outcomes: list[Outcome], device: torch.device) -> str:
    """The figures of a run as one JSON document."""
    rows = [
        {
            "row": outcome.row.name,
            "what": outcome.row.what,
            "sizes": dict(outcome.row.sizes.get(device.type, {})),
            "unit": outcome.row.unit,
            "rounds": outcome.row.rounds,
            "not_measured": outcome.reason,
            "comparisons": [
                {
                    "baseline": c.baseline or None,
                    "ours": c.ours,
                    "other": c.other,
                    "ratio": {
                        "is": c.reach.kind,
                        "median": c.median,
                        "lowest": c.lowest,
                        "highest": c.highest,
                    },
                    "reach": c.reach.limit,
                    "met": c.met,
                }
                for c in outcome.comparisons
            ],
            "claims": [
                {"what": c.what, "value": c.value, "limit": c.limit, "met": c.value <= c.limit}
                for c in outcome.claims
            ],
        }
        for outcome in outcomes
    ]
    document = {"device": device.type, **environment(device), "rows": rows}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def print_table(outcomes: list[Outcome], device: torch.device) -> None:
    """One line a comparison, and one a claim."""
    here = environment(device)
    title = f"{here['gpu'] or here['processor']}, {here['cores']} cores, {here['threads']} threads"
    table = Table(title=title)
    for heading in ("row", "what", "against", "ours", "theirs", "ratio (lowest … highest)"):
        table.add_column(heading, overflow="fold")
    table.add_column("reach", no_wrap=True)
    for outcome in outcomes:
        row = outcome.row
        if outcome.reason:
            table.add_row(row.name, row.what, f"not measured: {outcome.reason}")
        for c in outcome.comparisons:
            table.add_row(row.name, row.what, *_cells(c), _reached(c.reach, c.met, row.unit))
        for claim in outcome.claims:
            met = claim.value <= claim.limit
            limit = f"≤ {claim.limit:g}"
            value = f"{claim.value:.2g}"
            table.add_row(row.name, claim.what, "", value, "", "", _verdict(limit, met))
    Console(width=None if Console().is_terminal else 160).print(table)


def _cells(c: Comparison) -> tuple[str, str, str, str]:
    spread = f"{c.median:.2f} ({c.lowest:.2f} … {c.highest:.2f})"
    if not c.baseline:
        spread = f"({c.lowest:.3g} … {c.highest:.3g})"
    theirs = "" if c.other is None else _amount(c.other, c.row.unit)
    return c.baseline or "–", _amount(c.ours, c.row.unit), theirs, spread


def _amount(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _reached(reach: Reach, met: bool, unit: str) -> str:
    if reach.limit is None:
        return ""
    match reach.kind:
        case "times as fast":
            return _verdict(f"≥ {reach.limit:g}×", met)
        case "times as long":
            return _verdict(f"≤ {reach.limit:g}×", met)
        case "at most":
            return _verdict(f"≤ {reach.limit:g} {unit}", met)


def _verdict(limit: str, met: bool) -> str:
    return limit if met else f"[bold red]{limit} MISSED[/]"
