"""Start, cancel and remove background jobs: worker processes that outlive the app.

A job is a folder in the store: ``job.json`` (what to do, with its own copy of the study, and when
that was asked for), ``status.json`` (how far it is, replaced whole), ``log.txt``, and ``lock``. The
lock is taken before the worker starts and inherited by it, so it is held exactly as long as the
worker lives, however it ends: that, not a process number, tells whether a job is alive. The
folder's name is a digest of what was asked for, so the same job asked for twice runs once.

A worker whose job needs a device waits in the queue before it loads anything large
(:mod:`klas.jobs.queue`). The queue is made of living processes; nothing has to manage it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from klas.errors import JobError, StoreError
from klas.jobs.data_roots import refuse_elsewhere
from klas.jobs.kinds import JobSpec, UnknownJob
from klas.jobs.listing import is_alive, last_status
from klas.jobs.submission import Submission, job_folder, job_id, plain_study, read_submission
from klas.storage.locks import try_lock
from klas.storage.store import Store
from klas.study import Study


def start(store: Store, study: Study | None, spec: JobSpec) -> str:
    """Start a job, or queue it behind others, unless it is alive already; returns its id.

    Args:
        study: what the job is about; None for the catalogue, which is about no study.

    Raises:
        JobError: the worker can't be started.
        StoreError: the store can't be written.
        StudyError: the study names files that the app may not read.
    """
    if study is not None:
        refuse_elsewhere(study, store)
    job = job_id(study, spec)
    _start(store, job, plain_study(study), spec.model_dump(mode="json"))
    return job


def start_again(store: Store, job: str) -> None:
    """Start a job that has ended once more, unchanged, with its own copy of the study.

    Raises:
        JobError: there is no such job, only a newer klas knows its kind, or the worker can't be
            started.
        StoreError: the store can't be written.
    """
    submission = read_submission(job_folder(store, job))
    if submission is None:
        raise JobError("this job was removed meanwhile; start it from its page")
    if isinstance(submission.spec, UnknownJob):
        raise JobError(submission.spec.problem)
    _start(store, job, submission.study, submission.task)


def cancel(store: Store, job: str) -> None:
    """Ask a job to stop; what it finished is kept. Nothing happens if it isn't alive.

    Raises:
        JobError: its worker belongs to another user.
    """
    folder = job_folder(store, job)
    submission = read_submission(folder)
    if submission is None or not is_alive(folder):
        return
    with contextlib.suppress(OSError):
        # Noted, for it may end before it can say why; on a full disk the signal must be enough.
        (folder / "cancel").touch()
    pid = last_status(folder, submission).pid
    if not pid:
        return
    try:
        os.kill(pid, signal.SIGTERM)
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
    folder = job_folder(store, job)
    try:
        with store.lock("jobs"):
            if is_alive(folder):
                raise JobError("this job is at work or in the queue; cancel it first")
            shutil.rmtree(folder)
    except FileNotFoundError:
        pass  # somebody else was quicker
    except OSError as error:
        raise StoreError(f"{folder}: cannot be deleted ({error.strerror or error})") from None


def log(store: Store, job: str) -> str:
    """What the worker printed."""
    with contextlib.suppress(OSError):
        return (job_folder(store, job) / "log.txt").read_text(encoding="utf-8", errors="replace")
    return ""


def _start(store: Store, job: str, study: dict[str, Any] | None, task: dict[str, Any]) -> None:
    if sys.platform == "win32":
        raise JobError("background jobs need Linux or macOS; the command `klas` computes the same")
    folder = job_folder(store, job)
    try:
        with store.lock("jobs"):  # no folder is removed while it is filled
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "lock").open("ab") as lock:
                if not _take(lock):
                    if (folder / "cancel").exists():
                        raise JobError("this job is still stopping; start it again in a moment")
                    return
                (folder / "cancel").unlink(missing_ok=True)
                device = os.environ.get("KLAS_DEVICE", "auto")  # `klas dashboard --device` says it
                submission = Submission(
                    study=study, task=task, submitted=time.time(), device=device
                )
                store.write_file(folder / "job.json", submission.model_dump_json().encode())
                worker = _worker(store, folder, lock)
                first = submission.first_status(worker.pid)
                store.write_file(folder / "started.json", first.to_bytes())
    except OSError as error:
        raise JobError(f"{folder}: the job cannot be started ({error.strerror or error})") from None


def _worker(store: Store, folder: Path, lock: IO[bytes]) -> subprocess.Popen[bytes]:
    with (folder / "log.txt").open("wb") as log_file:
        worker = subprocess.Popen(
            [sys.executable, "-m", "klas.cli.worker", str(folder), str(store.root)],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            env=os.environ | {"PYTHONIOENCODING": "utf-8"},  # the log is read as that
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )
    # It is waited for, or it would stay behind as a zombie when it ends.
    threading.Thread(target=worker.wait, daemon=True).start()
    return worker


def _take(lock: IO[bytes]) -> bool:
    # Whoever only looks may hold it for an instant; a worker keeps it.
    for _ in range(5):
        if try_lock(lock):
            return True
        time.sleep(0.02)
    return False
