"""Small jobs for tests, what a test reads off them, and fixtures for tests that start workers."""

import contextlib
import time
from pathlib import Path

import pytest

from klas.jobs import listing, process
from klas.jobs.kinds import RunJob
from klas.jobs.listing import status_of
from klas.storage.locks import try_lock
from tests.conftest import SMALL

RUN = RunJob(until="tuned")
QUICK = SMALL.model_copy(
    update={
        "name": "quick",
        "anchors": SMALL.anchors[:2],
        "data": SMALL.data.model_copy(
            update={"train_samples": 200, "val_samples": 100, "test_samples": 100}
        ),
    }
)
"""Two networks, few images: for what is about jobs and not about results."""


def running(store):
    """The ids of the jobs whose worker is alive, at work or in the queue; newest first."""
    return [job.id for job in listing.all_jobs(store) if job.status.alive]


def waiting(store):
    """The ids of the jobs that wait for a device, the first in the queue first."""
    return [job.id for job in listing.waiting(store)]


def wait_for(store, job, condition, seconds=120):
    """The first status that satisfies the condition; fails when time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = status_of(store, job)
        if condition(status):
            return status
        time.sleep(0.02)  # between two looks; spinning would take a core from the worker
    raise AssertionError(f"still {status} after {seconds} s\n{process.log(store, job)}")


def finished(status):
    return not status.alive


def tiny_study(number):
    """A study that differs from others by its seed; its job gives up when it looks for images."""
    data = SMALL.data.model_copy(update={"train": str(Path.home() / "no such folder")})
    return SMALL.model_copy(update={"data": data, "seed": number, "name": f"study {number}"})


def queue_up(store, count):
    """So many jobs, each waiting for a device, in the order they were started."""
    started = [process.start(store, tiny_study(k), RUN) for k in range(count)]
    for job in started:
        wait_for(store, job, lambda s: s.state == "queued" and s.updated > s.started)
    return started


def at_work(status):
    return status.state != "queued"


def has_begun(stage):
    return lambda s: finished(s) or any(x.stage == stage and x.done for x in s.stages)


@pytest.fixture
def hold(store):
    """Holds devices as other workers would; closing one is that worker's end."""
    with contextlib.ExitStack() as files:

        def take(*names):
            paths = [store.root / "locks" / f"device-{name}.lock" for name in names]
            taken = [files.enter_context(path.open("a")) for path in paths]
            assert all(try_lock(file) for file in taken)
            return taken

        yield take


@pytest.fixture
def on_cpu(monkeypatch):
    """Workers that ask for the CPU, whatever this machine has."""
    monkeypatch.setenv("KLAS_DEVICE", "cpu")


@pytest.fixture
def no_worker_left(store, monkeypatch):
    """Workers have one thread each, and those that a test leaves at work are stopped."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for job in running(store):
        process.cancel(store, job)
        wait_for(store, job, finished)
