"""Background jobs: start, watch and cancel a worker process; it outlives whoever started it.

A job is a folder in the store: ``job.json`` (what to do), ``status.json`` (how far it is,
replaced whole), ``log.txt``, and ``lock``. The lock is taken before the worker starts and
inherited by it, so it is held exactly as long as the worker lives, however it ends: that, not
a process number, tells whether a job is running. The folder's name is a digest of the task, so
the same job asked for twice runs once.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

from klas.errors import JobError
from klas.store import Store, canonical_json
from klas.study import Study

State = Literal["running", "done", "failed", "cancelled", "died"]


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
    """How far a job is. Times are seconds since the epoch, ``rate`` is units per second."""

    state: State
    pid: int
    started: float
    updated: float
    stages: tuple[StageStatus, ...] = field(default=())
    label: str = ""
    rate: float | None = None
    seconds_left: float | None = None
    device: str = ""
    memory_bytes: int = 0
    error: str = ""

    def to_bytes(self) -> bytes:
        """As the status file holds it."""
        return json.dumps(asdict(self)).encode()


def start(store: Store, study: Study | None, task: Mapping[str, Any]) -> str:
    """Start a job unless it is running already; returns its id.

    Args:
        study: what the task is about; None for ``catalogue``, which is about no study.
        task: ``{"kind": "run", "until": stage}``, ``{"kind": "finetune", "pair": [f, g],
            "metrics": [...]}`` (the selection is the study's), ``{"kind": "compare", "pairs":
            [[f, g], …]}`` (what every method chooses, at every budget), ``{"kind": "full_val",
            "pairs": [[f, g], …], "tier": tier}`` or ``{"kind": "catalogue"}``.

    Raises:
        JobError: the worker can't be started.
    """
    plain = None if study is None else study.model_dump(mode="json")
    description = {"study": plain, "task": dict(task)}
    job = hashlib.sha256(canonical_json(description).encode()).hexdigest()[:16]
    folder = _folder(store, job)
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a") as lock:
        # An onlooker may hold it for an instant; a worker does not let go.
        for _ in range(5):
            if taken := _take(lock, fcntl.LOCK_EX):
                break
            time.sleep(0.02)
        if not taken:
            return job
        store.write_file(folder / "job.json", json.dumps(description).encode())
        _reap()
        with (folder / "log.txt").open("w") as log:
            try:
                worker = subprocess.Popen(
                    [sys.executable, "-m", "klas.worker", str(folder), str(store.root)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(lock.fileno(),),
                )
            except OSError as error:
                raise JobError(f"the worker cannot be started ({error.strerror})") from None
        _workers.append(worker)
        now = time.time()
        first = Status(state="running", pid=worker.pid, started=now, updated=now)
        store.write_file(folder / "started.json", first.to_bytes())
    return job


def status(store: Store, job: str) -> Status | None:
    """How far a job is, or None if there is no such job."""
    folder = _folder(store, job)
    _reap()
    running = _is_running(folder)
    found = _read_status(folder)
    if found is None:
        return None
    if running:
        # Its last word may be written while it still ends; only then can it be started anew.
        return replace(found, state="running")
    if found.state == "running":
        # It may have written its last word between the two looks.
        found = _read_status(folder) or found
        if found.state == "running":
            return replace(found, state="died", error=_last_words(folder))
    return found


def study_name(store: Store, job: str) -> str | None:
    """The name of the study that a job works on; None if it works on none, or never was."""
    with contextlib.suppress(OSError, ValueError):
        study = json.loads((_folder(store, job) / "job.json").read_bytes())["study"]
        return None if study is None else str(study["name"])
    return None


def jobs(store: Store) -> list[str]:
    """The ids of all jobs, newest first."""
    folders = [f for f in (store.root / "jobs").iterdir() if (f / "job.json").is_file()]
    return [f.name for f in sorted(folders, key=lambda f: -(f / "job.json").stat().st_mtime)]


def running(store: Store) -> list[str]:
    """The ids of the jobs whose worker is alive."""
    return [job for job in jobs(store) if _is_running(_folder(store, job))]


def cancel(store: Store, job: str) -> None:
    """Ask a job to stop; what it finished is kept. Nothing happens if it isn't running."""
    folder = _folder(store, job)
    found = _read_status(folder)
    if found is not None and _is_running(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGTERM)


def log(store: Store, job: str) -> str:
    """What the worker printed."""
    with contextlib.suppress(OSError):
        return (_folder(store, job) / "log.txt").read_text(errors="replace")
    return ""


def peak_memory_bytes() -> int:
    """The most memory that this process ever held."""
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as facts:
        # Linux's ru_maxrss outlives exec: a worker's would be its parent's.
        return int(next(line for line in facts if line.startswith("VmHWM")).split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)  # Linux counts in kibibytes


_workers: list[subprocess.Popen[bytes]] = []


def _reap() -> None:
    """Let finished workers of this process go, so that none stays behind as a zombie."""
    _workers[:] = [w for w in _workers if w.poll() is None]


def _folder(store: Store, job: str) -> Path:
    if not (job.isalnum() and job.isascii()):
        raise JobError(f"{job!r} is no job")
    return store.root / "jobs" / job


def _take(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_running(folder: Path) -> bool:
    try:
        with (folder / "lock").open("a") as lock:
            # Shared: two onlookers at once must not take each other for the worker.
            return not _take(lock, fcntl.LOCK_SH)
    except OSError:
        return False


def _read_status(folder: Path) -> Status | None:
    """The worker's status, or the starter's note if the worker has not written one since."""
    found = list(_statuses(folder))
    return max(found, key=lambda s: (s.started, s.updated), default=None)


def _statuses(folder: Path) -> Iterator[Status]:
    for name in ("started.json", "status.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            raw = json.loads((folder / name).read_bytes())
            stages = tuple(StageStatus(**s) for s in raw.pop("stages"))
            yield Status(**raw, stages=stages)


def _last_words(folder: Path) -> str:
    text = ""
    with contextlib.suppress(OSError):
        text = (folder / "log.txt").read_text(errors="replace").strip()
    last = text.splitlines()[-1][:200] if text else "it left no message"
    return f"the worker ended without finishing ({last})"
