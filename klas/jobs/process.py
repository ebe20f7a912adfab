"""Background jobs: start, queue, watch and cancel worker processes; they outlive who starts them.

A job is a folder in the store: ``job.json`` (what to do, with its own copy of the study, and
since when), ``status.json`` (how far it is, replaced whole), ``log.txt``, and ``lock``. The lock
is taken before the worker starts and inherited by it, so it is held exactly as long as the
worker lives, however it ends: that, not a process number, tells whether a job is alive. The
folder's name is a digest of the task, so the same job asked for twice runs once.

A worker whose job needs a device waits, before it loads anything large, until it is its turn
(:mod:`klas.jobs.queue`): the queue is made of living processes and needs nobody who manages it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

from klas.errors import JobError, StoreError
from klas.storage.store import Store, canonical_json
from klas.study import Study

State = Literal["queued", "running", "done", "failed", "cancelled", "died"]
QUEUED_KINDS = ("run", "finetune", "compare", "full_val", "latency")
"""Jobs that have a device to themselves. The catalogue needs none, and an estimate is short and
wanted before one decides to wait: both start at once, beside whatever runs."""


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """One stage's progress; ``total`` 0 means that all of it was cached."""

    stage: str
    unit: str
    done: int
    total: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a job is. Times are seconds since the epoch, ``rate`` is units per second.

    Attributes:
        started: when it was asked for; ``began``: when its turn came; ``updated``: the last word.
        stopping: whether it is alive and was asked to stop.
        memory_bytes: the most that the process held, ``device_bytes`` the same on a CUDA device.
        answer: what the job was to find out, if that is no result of the store.
    """

    state: State
    pid: int
    started: float
    updated: float
    began: float | None = None
    stages: tuple[StageStatus, ...] = field(default=())
    label: str = ""
    rate: float | None = None
    seconds_left: float | None = None
    device: str = ""
    memory_bytes: int = 0
    device_bytes: int = 0
    error: str = ""
    stopping: bool = False
    answer: dict[str, Any] | None = None

    @property
    def alive(self) -> bool:
        """Whether a worker has it in hand, or waits for its turn."""
        return self.state in ("queued", "running")

    def to_bytes(self) -> bytes:
        """As the status file holds it."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as a list shows it.

    Attributes:
        study: the name of the study that it works on; None if it works on none.
        before: how many jobs are ahead of it in the queue.
    """

    id: str
    study: str | None
    task: Mapping[str, Any]
    status: Status
    before: int = 0


def start(store: Store, study: Study | None, task: Mapping[str, Any]) -> str:
    """Start a job, or queue it behind others; returns its id. If it is alive already, that is all.

    Args:
        study: what the task is about; None for ``catalogue``, which is about no study.
        task: ``{"kind": "run", "until": stage}``, ``{"kind": "finetune", "pair": [f, g],
            "metrics": [...]}`` (of the study's own score what its selection chooses, of another
            one as many in every bucket), ``{"kind": "compare", "pairs": [[f, g], …]}`` (what
            every method chooses, at every budget), ``{"kind": "full_val", "pairs": [[f, g], …],
            "tier": tier}``, ``{"kind": "latency", "pairs": [[f, g], …]}``, ``{"kind": "estimate",
            "of": task}`` for one of these but the latency (its answer is in the status), or
            ``{"kind": "catalogue"}``.

    Raises:
        JobError: the worker can't be started.
        StoreError: the store can't be written.
    """
    return _start(store, _description(study, task))


def start_again(store: Store, job: str) -> str:
    """Start a job that ended once more, as it was: on its own copy of the study.

    Raises:
        JobError: there is no such job, or the worker can't be started.
        StoreError: the store can't be written.
    """
    raw = _read_description(_folder(store, job))
    if raw is None:
        raise JobError("this job was removed meanwhile; start it from its page")
    return _start(store, {"study": raw["study"], "task": raw["task"]})


def job_id(study: Study | None, task: Mapping[str, Any]) -> str:
    """The id that :func:`start` gives a job."""
    return _digest(_description(study, task))


def status(store: Store, job: str) -> Status | None:
    """How far a job is, or None if there is no such job."""
    folder = _folder(store, job)
    _reap()
    alive = _is_alive(folder)
    found = _read_status(folder)
    if found is None:
        return None
    stopping = (folder / "cancel").exists()
    if alive:
        # Its last word may be written while it still ends; only then can it be started anew.
        state: State = found.state if found.alive else "running"
        return replace(found, state=state, stopping=stopping)
    if found.alive:
        # It may have written its last word between the two looks.
        found = _read_status(folder) or found
        if found.alive and stopping:
            return replace(found, state="cancelled")
        if found.alive:
            return replace(found, state="died", error=_last_words(folder))
    return found


def listing(store: Store) -> list[Job]:
    """Every job, newest first."""
    queue = waiting(store)
    found = []
    for job in jobs(store):
        raw, status_now = _read_description(_folder(store, job)), status(store, job)
        if raw is not None and status_now is not None:
            study = None if raw["study"] is None else str(raw["study"]["name"])
            before = queue.index(job) if job in queue else 0
            found.append(
                Job(id=job, study=study, task=raw["task"], status=status_now, before=before)
            )
    return found


def studies_at_work(store: Store) -> list[str | None]:
    """The names of the studies that jobs are computing or wait to compute.

    None stands for the catalogue of networks, which belongs to no study.
    """
    return [job.study for job in listing(store) if job.status.alive]


def jobs(store: Store) -> list[str]:
    """The ids of all jobs, newest first."""
    return [job for _, job in sorted(_submissions(store), reverse=True)]


def running(store: Store) -> list[str]:
    """The ids of the jobs whose worker is alive, at work or in the queue; newest first."""
    return [job for job in jobs(store) if _is_alive(_folder(store, job))]


def waiting(store: Store) -> list[str]:
    """The ids of the jobs that wait for a device, the first in the queue first."""
    alive = [job for job in reversed(jobs(store)) if _is_alive(_folder(store, job))]
    found = [(job, _read_status(_folder(store, job))) for job in alive]
    return [job for job, now in found if now is not None and now.state == "queued"]


def wished_device(store: Store, job: str) -> str:
    """Where a job is to run: ``auto``, or what torch calls a device."""
    raw = _read_description(_folder(store, job))
    return "auto" if raw is None else str(raw["device"])


def cancel(store: Store, job: str) -> None:
    """Ask a job to stop; what it finished is kept. Nothing happens if it isn't alive.

    Raises:
        JobError: its worker belongs to another user.
    """
    folder = _folder(store, job)
    if not _is_alive(folder):
        return
    with contextlib.suppress(OSError):
        # Remembered, for it may end before it can say why; on a full disk the signal has to do.
        (folder / "cancel").touch()
    found = _read_status(folder)
    if found is not None and found.pid:
        try:
            os.kill(found.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise JobError("this job's worker belongs to another user of the machine") from None


def remove(store: Store, job: str) -> None:
    """Forget a job that ended, with its log; what it computed stays.

    Raises:
        JobError: it is alive.
        StoreError: the folder can't be deleted.
    """
    folder = _folder(store, job)
    try:
        with store.lock("jobs"):
            if _is_alive(folder):
                raise JobError("this job is at work or in the queue; cancel it first")
            shutil.rmtree(folder)
    except FileNotFoundError:
        pass  # somebody else was quicker
    except OSError as error:
        raise StoreError(f"{folder}: cannot be deleted ({error.strerror or error})") from None


def log(store: Store, job: str) -> str:
    """What the worker printed."""
    with contextlib.suppress(OSError):
        return (_folder(store, job) / "log.txt").read_text(errors="replace")
    return ""


def try_lock(lock: IO[Any], *, shared: bool = False) -> bool:
    """Take the operating system's lock on an open file.

    It lasts until every process that has the file open has closed it.

    Returns:
        False if somebody else has the lock.
    """
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


_workers: list[subprocess.Popen[bytes]] = []


def _reap() -> None:
    """Let finished workers of this process go, so that none stays behind as a zombie."""
    _workers[:] = [w for w in _workers if w.poll() is None]


def _description(study: Study | None, task: Mapping[str, Any]) -> dict[str, Any]:
    plain = None if study is None else study.model_dump(mode="json")
    return {"study": plain, "task": dict(task)}


def _digest(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(description).encode()).hexdigest()[:16]


def _start(store: Store, description: Mapping[str, Any]) -> str:
    job = _digest(description)
    folder = _folder(store, job)
    _reap()
    try:
        with store.lock("jobs"):  # no folder is removed while it is filled
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "lock").open("a") as lock:
                if not _take(lock):
                    if (folder / "cancel").exists():
                        raise JobError("this job is still stopping; start it again in a moment")
                    return job
                (folder / "cancel").unlink(missing_ok=True)
                submitted = time.time()
                device = os.environ.get("KLAS_DEVICE", "auto")  # `klas dashboard --device` says it
                full = {**description, "submitted": submitted, "device": device}
                store.write_file(folder / "job.json", json.dumps(full).encode())
                with (folder / "log.txt").open("w") as log_file:
                    worker = subprocess.Popen(
                        [sys.executable, "-m", "klas.cli.worker", str(folder), str(store.root)],
                        stdin=subprocess.DEVNULL,
                        stdout=log_file,
                        stderr=log_file,
                        start_new_session=True,
                        pass_fds=(lock.fileno(),),
                    )
                _workers.append(worker)
                first = replace(_submitted(full), pid=worker.pid)
                store.write_file(folder / "started.json", first.to_bytes())
    except OSError as error:
        raise JobError(f"{folder}: the job cannot be started ({error.strerror or error})") from None
    return job


def _folder(store: Store, job: str) -> Path:
    if not (job.isalnum() and job.isascii()):
        raise JobError(f"{job!r} is no job")
    return store.root / "jobs" / job


def _submissions(store: Store) -> Iterator[tuple[float, str]]:
    """When each job was asked for, and its id."""
    with contextlib.suppress(OSError):
        for folder in (store.root / "jobs").iterdir():
            raw = _read_description(folder)
            if raw is not None:
                yield raw["submitted"], folder.name


def _take(lock: IO[str]) -> bool:
    # An onlooker may hold it for an instant; a worker does not let go.
    for _ in range(5):
        if try_lock(lock):
            return True
        time.sleep(0.02)
    return False


def _is_alive(folder: Path) -> bool:
    try:
        with (folder / "lock").open("rb") as lock:
            # Shared: two onlookers at once must not take each other for the worker.
            return not try_lock(lock, shared=True)
    except OSError:
        return False


def _read_description(folder: Path) -> dict[str, Any] | None:
    """What ``job.json`` says; None where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        raw = json.loads((folder / "job.json").read_bytes())
        if isinstance(raw, dict) and raw.keys() >= {"study", "task", "submitted", "device"}:
            return raw
    return None


def _submitted(description: Mapping[str, Any]) -> Status:
    """The status of a job of which nothing more is known than that it was asked for."""
    then = description["submitted"]
    queued = description["task"]["kind"] in QUEUED_KINDS
    return Status(state="queued" if queued else "running", pid=0, started=then, updated=then)


def _read_status(folder: Path) -> Status | None:
    """The last that is known: the worker's word, else the starter's. None if it never was."""
    description = _read_description(folder)
    if description is None:
        return None
    found = [_submitted(description)]
    for name in ("started.json", "status.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            raw = json.loads((folder / name).read_bytes())
            stages = tuple(StageStatus(**s) for s in raw.pop("stages"))
            found.append(Status(**raw, stages=stages))
    # What an earlier worker of the same job left is over.
    current = [s for s in found if s.started == description["submitted"]]
    return max(current, key=lambda s: (s.updated, s.pid))


def _last_words(folder: Path) -> str:
    text = ""
    with contextlib.suppress(OSError):
        text = (folder / "log.txt").read_text(errors="replace").strip()
    last = text.splitlines()[-1][:200] if text else "it left no message"
    return f"the worker was killed, or crashed, without finishing ({last})"
