"""Jobs as they are started, cancelled, killed and removed."""

import os
import signal

import pytest

from klas.errors import JobError
from klas.jobs import process
from klas.jobs.listing import all_jobs, status_of
from klas.storage.upkeep import verify
from tests.jobs.workers import QUICK, RUN, finished, has_begun, queue_up, running, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_worker_left")]


def test_a_job_computes_the_study_and_tells_every_stage(store):
    job = process.start(store, QUICK, RUN)
    assert process.start(store, QUICK, RUN) == job  # asked for twice, it runs once
    assert running(store) == [job]
    status = wait_for(store, job, finished)
    assert status.state == "done", status
    assert [s.stage for s in status.stages][-1] == "tuned"
    assert all(s.done == s.total > 0 for s in status.stages)
    assert status.device
    assert status.memory_bytes > 50e6
    assert status.started <= status.began <= status.updated
    assert running(store) == []
    assert store.get_ref(f"scores-{QUICK.results_key()}")["pairs"][0]["theta"] is not None


def test_a_cancelled_job_keeps_what_it_finished_and_goes_on_later(store):
    job = process.start(store, QUICK, RUN)
    wait_for(store, job, has_begun("scores"))  # the features are there, and much is to come
    process.cancel(store, job)
    assert wait_for(store, job, finished).state == "cancelled"
    kept = {e.digest for e in store.entries() if e.stage in ("features", "probes")}
    assert kept
    assert process.start(store, QUICK, RUN) == job
    status = wait_for(store, job, finished)
    assert status.state == "done"
    assert {s.stage: s.total for s in status.stages}["features"] == 0  # from the cache
    assert kept <= {e.digest for e in store.entries()}


def test_a_killed_worker_is_seen_to_have_died(store):
    job = process.start(store, QUICK, RUN)
    status = wait_for(store, job, has_begun("anchors"))
    os.kill(status.pid, signal.SIGKILL)
    status = wait_for(store, job, finished)
    assert status.state == "died"
    assert "without finishing" in status.error
    assert verify(store).damaged == ()
    process.start_again(store, job)
    assert wait_for(store, job, finished).state == "done"


def test_a_job_that_ended_can_be_removed_and_one_that_waits_can_not(store, on_cpu, hold):
    hold("cpu")
    (job,) = queue_up(store, 1)
    with pytest.raises(JobError, match="cancel it first"):
        process.remove(store, job)
    process.cancel(store, job)
    wait_for(store, job, finished)
    process.remove(store, job)
    process.remove(store, job)  # in another tab
    assert all_jobs(store) == []
    assert status_of(store, job) is None
    with pytest.raises(JobError, match="was removed"):
        process.start_again(store, job)


def test_a_folder_that_cannot_be_written_is_a_sentence(store, monkeypatch):
    (store.root / "jobs").rmdir()
    (store.root / "jobs").write_text("in the way")
    with pytest.raises(JobError, match="cannot be started"):
        process.start(store, QUICK, RUN)
    assert all_jobs(store) == []


def test_where_no_process_can_be_started_so_is_a_sentence(store, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(JobError, match="need Linux or macOS"):
        process.start(store, QUICK, RUN)
