"""Jobs on the Study page, in Streamlit's own test runner: what a user is told and offered."""

import json
import time

import pytest

from klas.jobs import process
from klas.jobs.kinds import EstimateJob
from klas.jobs.listing import all_jobs, status_of
from klas.pipeline.run import Pipeline
from klas.storage.locks import try_lock
from klas.storage.store import Store
from tests.conftest import SMALL
from tests.dashboard.reading import button
from tests.jobs.workers import QUICK, RUN, running, waiting

ABSENT = SMALL.model_copy(
    update={"data": SMALL.data.model_copy(update={"train": "/no/such/folder"})}
)


@pytest.fixture
def busy(store, monkeypatch):
    """A store whose one device is at work for somebody else, so that every job waits."""
    monkeypatch.setenv("KLAS_DEVICE", "cpu")
    with (store.root / "locks" / "device-cpu.lock").open("a") as lock:
        assert try_lock(lock)
        yield store
        for job in running(store):
            process.cancel(store, job)
            ended(store, job)


def ended(store, job, seconds=60):
    """The job's last status."""
    limit = time.monotonic() + seconds
    while (status := status_of(store, job)).alive:
        assert time.monotonic() < limit, status
        time.sleep(0.02)  # between two looks
    return status


def texts(tester):
    return " ".join(m.value for m in [*tester.markdown, *tester.warning, *tester.error])


def test_a_second_job_is_queued_and_can_be_cancelled(app, busy):
    tester = app(busy.root)
    button(tester, "Compute everything").click().run()
    assert not tester.exception
    assert button(tester, "Waits for its turn").disabled
    assert "in the queue, next" in texts(tester)
    tester.segmented_control(key="until:small").set_value("scores").run()
    button(tester, "Compute up to scores").click().run()
    assert "in the queue, one job before it" in texts(tester)
    first, second = waiting(busy)
    button(tester, "Cancel").click().run()
    assert ended(busy, first).state == "cancelled"
    tester.run()
    assert waiting(busy) == [second]
    assert "in the queue, next" in texts(tester)


def test_jobs_of_another_study_are_shown_with_its_name(app, busy):
    job = process.start(busy, SMALL.model_copy(update={"name": "other"}), RUN)
    tester = app(busy.root)
    assert "other: **Compute up to tuned**" in texts(tester)
    assert not button(tester, "Compute everything").disabled
    process.cancel(busy, job)
    ended(busy, job)
    tester.run()
    assert "tuned: cancelled" not in texts(tester)  # a matter of that study's own page


def test_a_cancelled_job_can_be_started_again_or_dismissed(app, busy):
    job = process.start(busy, SMALL, RUN)
    process.cancel(busy, job)
    ended(busy, job)
    tester = app(busy.root)
    assert "Compute up to tuned: cancelled. What was finished is kept." in texts(tester)
    button(tester, "Start again").click().run()
    assert running(busy) == [job]
    assert "in the queue, next" in texts(tester)
    process.cancel(busy, job)
    ended(busy, job)
    tester.run()
    button(tester, "Dismiss").click().run()
    assert all_jobs(busy) == []
    assert "cancelled" not in texts(tester)


@pytest.mark.slow
def test_a_data_folder_that_vanished_is_a_sentence_with_the_log(app, store, tmp_path):
    (tmp_path / "small.toml").write_text(ABSENT.to_toml())
    ended(store, process.start(store, ABSENT, RUN))
    tester = app(store.root)
    assert "/no/such/folder: there is no such folder" in tester.error[0].value
    assert "Log of the worker" in [e.label for e in tester.expander]
    assert "Start again" in [b.label for b in tester.button]
    button(tester, "Clear the 1 that ended").click().run()
    assert not tester.error
    assert all_jobs(store) == []


def test_a_job_of_a_newer_klas_is_shown_and_not_started(app, store):
    study, folder = SMALL.model_dump(mode="json"), store.root / "jobs" / "0123"
    folder.mkdir()
    asked = {"study": study, "task": {"kind": "merge"}, "submitted": 1.7e9, "device": "auto"}
    (folder / "job.json").write_text(json.dumps(asked))
    (folder / "status.json").write_text(json.dumps({"state": "merging", "started": 1.7e9}))
    (store.root / "jobs" / "4567").mkdir()
    (store.root / "jobs" / "4567" / "job.json").write_text(json.dumps({"task": 5}))
    tester = app(store.root)
    assert not tester.exception
    assert "Made by a newer klas: merge · small" in texts(tester)
    assert "All jobs (1)" in [e.label for e in tester.expander]
    button(tester, "Start again").click().run()
    assert tester.error[0].value == (
        "the kind of this job (merge) is unknown here; a newer klas may know it"
    )
    assert all_jobs(store)[0].status.state == "died"
    button(tester, "Dismiss").click().run()
    assert all_jobs(store) == []


def test_a_store_that_cannot_be_written_is_a_sentence_where_the_button_is(app, store):
    tester = app(store.root)
    (store.root / "jobs").rmdir()
    (store.root / "jobs").write_text("in the way")
    button(tester, "Compute everything").click().run()
    assert not tester.exception
    assert "cannot be started" in tester.error[0].value


@pytest.mark.slow
def test_an_estimate_stands_beside_the_button_until_results_change(
    app, store, monkeypatch, tmp_path
):
    (tmp_path / "small.toml").write_text(QUICK.to_toml())
    monkeypatch.setenv("KLAS_DEVICE", "cpu")
    ended(store, process.start(store, QUICK, EstimateJob(of=RUN)))
    tester = app(store.root)
    assert "on cpu" in texts(tester)
    assert "of disk" in texts(tester)
    tester.segmented_control(key="until:quick").set_value("anchors").run()
    assert "of disk" not in texts(tester)  # that was for all stages
    Pipeline(QUICK, store, device="cpu").run("anchors")
    tester.segmented_control(key="until:quick").set_value("tuned").run()
    assert "of disk" not in texts(tester)


def test_every_stage_is_marked_and_the_command_does_what_the_button_does(app, tmp_path):
    (tmp_path / "small.toml").write_text(QUICK.to_toml())
    store = Store(tmp_path / "partial")
    Pipeline(QUICK, store, device="cpu").run("probes")
    store.close()
    tester = app(tmp_path / "partial")
    stages = tester.segmented_control(key="until:quick")
    marks = {o.content.strip(): o.content_icon for o in stages.proto.options}
    assert marks["anchors"] == marks["probes"] == ":material/check_circle:"
    assert marks["scores"] == marks["tuned"] == ":material/circle:"
    root = tmp_path / "partial"
    small = tmp_path / "small.toml"
    assert tester.code[0].value == f"klas run {small} --cache-dir {root}"
    stages.set_value("scores").run()
    assert tester.code[0].value == f"klas run {small} --until scores --cache-dir {root}"
    tester.segmented_control(key="until:quick").set_value("probes").run()
    assert "Computed up to probes" in texts(tester)
    assert "Compute up to probes" not in [b.label for b in tester.button]
