"""What was asked for: a job's folder, and the ``job.json`` in it."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from klas.errors import JobError
from klas.jobs.kinds import DeviceJob, EstimateJob, JobSpec, UnknownJob, read_spec
from klas.jobs.status import Status, Text, Time
from klas.storage.key import canonical_json
from klas.storage.store import Store
from klas.study import Study


class Submission(BaseModel):
    """What ``job.json`` holds.

    Attributes:
        study: the job's own copy of its study, as plain values; None if it is about none.
        task: what is to be done, as plain values; :attr:`spec` is the same, typed.
        submitted: when it was asked for, in seconds since the epoch.
        device: where it is to run: ``auto``, or what torch calls a device.
    """

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    study: dict[str, Any] | None
    task: dict[str, Any]
    submitted: Time
    device: Text

    @cached_property
    def spec(self) -> JobSpec | UnknownJob:
        """What is to be done."""
        return read_spec(self.task)

    @property
    def study_name(self) -> str | None:
        """The name of the study; None if the job is about none."""
        return None if self.study is None else str(self.study.get("name", ""))

    def first_status(self, pid: int = 0) -> Status:
        """The status of a job before its worker has written one."""
        return Status(
            state="queued" if isinstance(self.spec, DeviceJob) else "running",
            pid=pid,
            started=self.submitted,
            updated=self.submitted,
        )


def read_submission(folder: Path) -> Submission | None:
    """What ``job.json`` says; None where there is none that can be read."""
    try:
        return Submission.model_validate_json((folder / "job.json").read_bytes())
    except (OSError, ValidationError):
        return None


def job_folder(store: Store, job: str) -> Path:
    """Where a job is kept.

    Raises:
        JobError: this can't be the id of a job.
    """
    if not is_id(job):
        raise JobError(f"{job!r} is not the id of a job")
    return store.root / "jobs" / job


def is_id(name: str) -> bool:
    """Whether a folder of this name may be a job's."""
    return name.isalnum() and name.isascii()


def plain_study(study: Study | None) -> dict[str, Any] | None:
    """A study as ``job.json`` holds it."""
    return None if study is None else study.model_dump(mode="json")


def job_id(study: Study | None, spec: JobSpec) -> str:
    """The id of a job, a digest of what is asked for: the same job asked for twice runs once."""
    plain = plain_study(study)
    if study is not None and not isinstance(spec, EstimateJob):
        plain = study.content()  # without the engine: whoever does it, it is the same job
    asked = {"study": plain, "task": spec.model_dump(mode="json")}
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()[:16]
