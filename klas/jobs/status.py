"""How far a job is, and the status file in which its worker keeps it."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
)

from klas.errors import StoreError
from klas.memory import peak_memory_bytes
from klas.storage.store import Store

WRITE_EVERY = 0.25  # seconds between two status files

State = Literal["queued", "running", "done", "failed", "cancelled", "died"]


def _encodable(value: Any) -> Any:
    # A path in an error may hold bytes that are not text.
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


# Bounds within which a page can show the values of any file.
Count = Annotated[int, Field(ge=0, lt=2**63)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Time = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]
"""Seconds since the epoch."""
Text = Annotated[str, BeforeValidator(_encodable)]


class StageStatus(BaseModel):
    """One stage's progress; ``total`` 0 means that all of it was cached."""

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    stage: Text
    unit: Text
    done: Count
    total: Count
    seconds: Amount


class EstimateAnswer(BaseModel):
    """What another job would take, as far as it isn't cached.

    Attributes:
        trainings: how many joint trainings are missing; None if it is about none.
        disk_bytes, memory_bytes: for what writes much.
        notes: sentences for people.
        beside_other_work: whether the device was busy, so that the job itself will be quicker.
    """

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    seconds: Amount
    trainings: Count | None = None
    disk_bytes: Count | None = None
    memory_bytes: Count | None = None
    notes: tuple[Text, ...] | None = None
    beside_other_work: bool = False


class ExportAnswer(BaseModel):
    """What was exported.

    Attributes:
        difference: the largest of any output to the network's, at batches 1 and 5.
        milliseconds: the median of one image, by the format's own runtime, on this machine.
        macs, params: what it costs for one image.
        python: the lines that load it from the folder that one is in, unpacked.
        beside_other_work: whether the machine was busy, so that it is quicker than it was timed.
    """

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    difference: Amount
    milliseconds: Amount
    machine: Text
    macs: Count
    params: Count
    python: tuple[Text, ...]
    beside_other_work: bool = False


class Status(BaseModel):
    """How far a job is. Times are seconds since the epoch, ``rate`` is units per second.

    Attributes:
        started: when it was asked for.
        began: when its work began, if it has.
        updated: when this was written.
        stopping: whether it is alive and was asked to stop.
        workers: how many results are made side by side.
        memory_bytes: the most that the process and its workers took.
        device_bytes: the most that it took on a CUDA device.
        answer: what an estimate came to, or what was exported.
    """

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    state: State
    pid: Annotated[int, Field(ge=0, lt=2**31)]
    started: Time
    updated: Time
    began: Time | None = None
    stages: tuple[StageStatus, ...] = ()
    label: Text = ""
    rate: Amount | None = None
    seconds_left: Amount | None = None
    device: Text = ""
    workers: Count = 1
    memory_bytes: Count = 0
    device_bytes: Count = 0
    error: Text = ""
    stopping: bool = False
    answer: EstimateAnswer | ExportAnswer | None = None

    @property
    def alive(self) -> bool:
        """Whether a worker is doing it, or waits for a device."""
        return self.state in ("queued", "running")

    @field_serializer("answer")
    def _known_part(self, answer: EstimateAnswer | ExportAnswer | None) -> dict[str, Any] | None:
        return None if answer is None else answer.model_dump(exclude_none=True)

    def to_bytes(self) -> bytes:
        """As the status file holds it."""
        return self.model_dump_json().encode()


def read_status(path: Path) -> Status | None:
    """What a status file says; None where there is none that this klas understands."""
    try:
        return Status.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


class StatusFile:
    """A progress that is kept in a job's status file.

    Attributes:
        device: where the job runs, once that is known.
        device_bytes: the most memory that it took on a CUDA device so far.
        workers: how many processes work for it now.
        workers_bytes: the most memory that the processes that work for it took so far.
        answer: what an estimate came to, or what was exported.
    """

    def __init__(self, folder: Path, store: Store, started: float) -> None:
        self._path = folder / "status.json"
        self._store = store
        self._started = started
        self._began: float | None = None
        self._stages: list[StageStatus] = []
        self._stage_began = time.monotonic()
        self._done_before = 0  # units of the stage that an earlier process did
        self._label = ""
        self._written = 0.0
        self.device = ""
        self.device_bytes: Callable[[], int] = int  # 0, until there is a device
        self.workers: Callable[[], int] = lambda: 1
        self.workers_bytes: Callable[[], int] = int
        self.answer: EstimateAnswer | ExportAnswer | None = None

    def begin(self) -> None:
        """The job's work begins."""
        self._began = time.time()
        self.write("running")

    def start(self, stage: str, unit: str, total: int, done: int = 0) -> None:
        """A stage begins."""
        begun = StageStatus(stage=stage, unit=unit, done=done, total=total, seconds=0.0)
        self._stages.append(begun)
        self._done_before = done
        self._stage_began = time.monotonic()
        self._label = ""
        self.write("running")

    def label(self, text: str) -> None:
        """What is being computed."""
        self._label = text
        self.write("running")

    def advance(self, amount: int) -> None:
        """``amount`` more units are done."""
        last = self._stages[-1]
        seconds = time.monotonic() - self._stage_began
        self._stages[-1] = last.model_copy(update={"done": last.done + amount, "seconds": seconds})
        if time.monotonic() - self._written > WRITE_EVERY:
            self.write("running")

    def write(self, state: State, error: str = "") -> None:
        """Replace the status file.

        If that fails the job goes on: what it computes matters more, and the log says what went
        wrong.
        """
        last = self._stages[-1] if self._stages else None
        own = last.done - self._done_before if last else 0
        rate = own / last.seconds if last and last.seconds and own else None
        left = max(0.0, (last.total - last.done) / rate) if last and rate and last.total else None
        status = Status(
            state=state,
            pid=os.getpid(),
            started=self._started,
            updated=time.time(),
            began=self._began,
            stages=tuple(self._stages),
            label=self._label,
            rate=rate,
            seconds_left=left,
            device=self.device,
            workers=self.workers(),
            memory_bytes=peak_memory_bytes() + self.workers_bytes(),
            device_bytes=self.device_bytes(),
            error=error,
            answer=self.answer,
        )
        self._written = time.monotonic()
        try:
            self._store.write_file(self._path, status.to_bytes())
        except StoreError as problem:
            print(error or problem, file=sys.stderr)
