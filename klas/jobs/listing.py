"""Which jobs there are and how far each is, read from their folders."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from klas.jobs.kinds import JobSpec, UnknownJob
from klas.jobs.status import Status, read_status
from klas.jobs.submission import Submission, is_id, job_folder, read_submission
from klas.storage.locks import is_locked
from klas.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as a list shows it.

    Attributes:
        study: the name of the study that it works on; None if it works on none.
        device: where it is to run: ``auto``, or what torch calls a device.
        before: how many jobs are ahead of it in the queue.
    """

    id: str
    study: str | None
    spec: JobSpec | UnknownJob
    device: str
    status: Status
    before: int = 0


def all_jobs(store: Store) -> list[Job]:
    """Every job, newest first."""
    folders: list[Path] = []
    with contextlib.suppress(OSError):
        folders = [f for f in (store.root / "jobs").iterdir() if is_id(f.name)]
    read = [(folder, read_submission(folder)) for folder in folders]
    submitted = [(folder, s) for folder, s in read if s is not None]
    submitted.sort(key=lambda one: (one[1].submitted, one[0].name))
    jobs, queued = [], 0
    for folder, submission in submitted:
        job = Job(
            id=folder.name,
            study=submission.study_name,
            spec=submission.spec,
            device=submission.device,
            status=_status(folder, submission),
        )
        if job.status.state == "queued":
            job, queued = replace(job, before=queued), queued + 1
        jobs.append(job)
    return jobs[::-1]


def waiting(store: Store) -> list[Job]:
    """The jobs that wait for a device, the first in the queue first."""
    return [job for job in reversed(all_jobs(store)) if job.status.state == "queued"]


def studies_at_work(store: Store) -> list[str | None]:
    """The names of the studies that jobs are computing or wait to compute.

    None stands for the catalogue of networks, which belongs to no study.
    """
    return [job.study for job in all_jobs(store) if job.status.alive]


def status_of(store: Store, job: str) -> Status | None:
    """How far a job is, or None if there is no such job."""
    folder = job_folder(store, job)
    submission = read_submission(folder)
    return None if submission is None else _status(folder, submission)


def is_alive(folder: Path) -> bool:
    """Whether a job's worker lives, at work or in the queue."""
    return is_locked(folder / "lock")


def last_status(folder: Path, submission: Submission) -> Status:
    """The last status that was written of a job: the worker's, else the starter's."""
    files = [read_status(folder / name) for name in ("started.json", "status.json")]
    # What an earlier worker of the same job left does not count.
    current = [s for s in files if s is not None and s.started == submission.submitted]
    return max([submission.first_status(), *current], key=lambda s: (s.updated, s.pid))


def _status(folder: Path, submission: Submission) -> Status:
    alive = is_alive(folder)
    status = last_status(folder, submission)
    stopping = (folder / "cancel").exists()
    if alive:
        # Its last status may be written while it is still ending, when it can't be started again.
        state = status.state if status.alive else "running"
        return status.model_copy(update={"state": state, "stopping": stopping})
    if status.alive:
        # It may have written its last status since it was read.
        status = last_status(folder, submission)
    if not status.alive:
        return status
    if stopping:
        return status.model_copy(update={"state": "cancelled"})
    return status.model_copy(update={"state": "died", "error": _last_line(folder)})


def _last_line(folder: Path) -> str:
    text = ""
    with contextlib.suppress(OSError):
        text = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip()
    last = text.splitlines()[-1][:200] if text else "it left no message"
    return f"the worker was killed, or crashed, without finishing ({last})"
