"""Jobs as their folders tell, whoever wrote them; no worker is started."""

import json

import pytest

from klas.errors import JobError
from klas.jobs import process
from klas.jobs.kinds import RunJob, UnknownJob
from klas.jobs.listing import all_jobs, status_of, studies_at_work
from klas.storage.locks import try_lock
from tests.jobs.test_status import WRITTEN
from tests.jobs.test_submission import ASKED


@pytest.fixture
def put(store):
    """Makes a job's folder; what is not given is as an earlier version wrote it."""

    def make(job, asked=ASKED, **files):
        folder = store.root / "jobs" / job
        folder.mkdir()
        (folder / "job.json").write_text(json.dumps(asked))
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        return folder

    return make


def test_jobs_of_an_earlier_version_are_listed(store, put):
    put("aa", status=WRITTEN | {"state": "done"})
    put("bb", ASKED | {"submitted": 1.8e9})
    new, old = all_jobs(store)
    assert (old.id, old.study, old.spec) == ("aa", "small", RunJob(until="tuned"))
    assert old.status.state == "done"
    assert old.status.label == "digits_vit_tiny"
    assert new.status.state == "died"  # it was started, and no worker lives
    assert "it left no message" in new.status.error


def test_what_an_earlier_worker_of_the_same_job_left_is_over(store, put):
    put("aa", ASKED | {"submitted": 1.8e9}, status=WRITTEN | {"state": "done"})
    assert status_of(store, "aa").state == "died"


def test_a_job_is_alive_as_long_as_its_lock_is_held(store, put):
    folder = put("aa", status=WRITTEN | {"state": "done"})
    with (folder / "lock").open("a") as lock:
        assert try_lock(lock)
        # Its last word is written, but it has not ended.
        assert status_of(store, "aa").state == "running"
        assert studies_at_work(store) == ["small"]
        with pytest.raises(JobError, match="cancel it first"):
            process.remove(store, "aa")
    assert status_of(store, "aa").state == "done"
    assert studies_at_work(store) == []


def test_a_job_of_a_newer_klas_is_listed_and_removed_but_not_started(store, put):
    put("aa", ASKED | {"task": {"kind": "merge"}}, status=WRITTEN | {"state": "failed"})
    (job,) = all_jobs(store)
    assert isinstance(job.spec, UnknownJob)
    assert job.spec.kind == "merge"
    assert job.status.state == "failed"
    with pytest.raises(JobError, match=r"\(merge\) is unknown here; a newer klas may know it"):
        process.start_again(store, "aa")
    process.remove(store, "aa")
    assert all_jobs(store) == []


def test_odd_folders_are_no_jobs_or_jobs_of_which_little_is_known(store, put):
    (store.root / "jobs" / "a file").write_text("?")
    put("no id", ASKED)
    put("aa", {"study": None})
    put("bb", [])
    put("cc", ASKED | {"study": "small"})
    put("dd", ASKED | {"study": {"name": ["small"]}}, status=[], started=7)
    (job,) = all_jobs(store)
    assert job.id == "dd"
    assert job.study == "['small']"
    assert job.status.state == "died"
    for name in ("aa", "bb", "cc"):
        assert status_of(store, name) is None
        with pytest.raises(JobError, match="was removed"):
            process.start_again(store, name)


def test_there_is_nothing_to_say_of_a_job_that_never_was(store):
    assert status_of(store, "0123456789abcdef") is None
    process.cancel(store, "0123456789abcdef")
    assert process.log(store, "0123456789abcdef") == ""
    with pytest.raises(JobError, match="is not the id of a job"):
        status_of(store, "../../etc")
