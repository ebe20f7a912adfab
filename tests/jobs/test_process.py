import contextlib
import json
import os
import signal
import time

import pytest

from klas.cli import worker
from klas.cli.worker import StatusFile
from klas.errors import JobError, StoreError
from klas.jobs import process as jobs
from klas.results.accuracies import finetuned_accuracy, full_val_accuracy
from klas.results.comparison import compare
from klas.results.comparison_view import entry_of
from klas.results.pair import pairs_of
from klas.results.selections import choose, fair_share
from klas.storage.store import Store
from klas.study import METRICS, change
from tests.conftest import SMALL
from tests.small_catalogue import put_catalogue

RUN = {"kind": "run", "until": "tuned"}
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


def wait_for(store, job, condition, seconds=120):
    """The first status that satisfies the condition; fails when time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = jobs.status(store, job)
        if condition(status):
            return status
        time.sleep(0.02)  # between two looks; spinning would take a core from the worker
    raise AssertionError(f"still {status} after {seconds} s\n{jobs.log(store, job)}")


def finished(status):
    return not status.alive


def at_work(status):
    return status.state != "queued"


def tiny_study(number):
    """A study that differs from others by its seed; its job gives up when it looks for images."""
    data = SMALL.data.model_copy(update={"train": "/no/such/folder"})
    return SMALL.model_copy(update={"data": data, "seed": number, "name": f"study {number}"})


@pytest.fixture
def hold(store):
    """Holds devices as other workers would; closing one is that worker's end."""
    with contextlib.ExitStack() as files:

        def take(*names):
            paths = [store.root / "locks" / f"device-{name}.lock" for name in names]
            taken = [files.enter_context(path.open("a")) for path in paths]
            assert all(jobs.try_lock(file) for file in taken)
            return taken

        yield take


def queue_up(store, count):
    """So many jobs, each waiting for its turn, in the order they were started."""
    started = [jobs.start(store, tiny_study(k), RUN) for k in range(count)]
    for job in started:
        wait_for(store, job, lambda s: s.state == "queued" and s.updated > s.started)
    return started


@pytest.fixture
def on_cpu(monkeypatch):
    """Workers that ask for the CPU, whatever this machine has."""
    monkeypatch.setenv("KLAS_DEVICE", "cpu")


@pytest.fixture(autouse=True)
def nothing_left_behind(store):
    yield
    for job in jobs.running(store):
        jobs.cancel(store, job)
        wait_for(store, job, finished)


def has_begun(stage):
    return lambda s: finished(s) or any(x.stage == stage and x.done for x in s.stages)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_job_computes_the_study_and_tells_every_stage(store):
    job = jobs.start(store, QUICK, RUN)
    assert jobs.start(store, QUICK, RUN) == job  # asked for twice, it runs once
    assert jobs.running(store) == [job]
    status = wait_for(store, job, finished)
    assert status.state == "done", status
    assert [s.stage for s in status.stages][-1] == "tuned"
    assert all(s.done == s.total > 0 for s in status.stages)
    assert status.device
    assert status.memory_bytes > 50e6
    assert status.started <= status.began <= status.updated
    assert jobs.running(store) == []
    assert store.get_ref(f"scores-{QUICK.results_key()}")["pairs"][0]["theta"] is not None


def test_a_cancelled_job_keeps_what_it_finished_and_goes_on_later(store):
    job = jobs.start(store, QUICK, RUN)
    wait_for(store, job, has_begun("zero_shot"))
    jobs.cancel(store, job)
    assert wait_for(store, job, finished).state == "cancelled"
    kept = {e.digest for e in store.entries() if e.stage in ("features", "probes")}
    assert kept
    assert jobs.start(store, QUICK, RUN) == job
    status = wait_for(store, job, finished)
    assert status.state == "done"
    assert {s.stage: s.total for s in status.stages}["features"] == 0  # from the cache
    assert kept <= {e.digest for e in store.entries()}


def test_a_killed_worker_is_seen_to_have_died(store):
    job = jobs.start(store, QUICK, RUN)
    status = wait_for(store, job, has_begun("anchors"))
    os.kill(status.pid, signal.SIGKILL)
    status = wait_for(store, job, finished)
    assert status.state == "died"
    assert "without finishing" in status.error
    assert store.verify() == []
    assert jobs.start_again(store, job) == job
    assert wait_for(store, job, finished).state == "done"


def test_jobs_wait_for_the_device_and_go_in_the_order_they_came(store, on_cpu, hold):
    (device,) = hold("cpu")
    first, second, third = queue_up(store, 3)
    assert jobs.waiting(store) == [first, second, third]
    assert jobs.studies_at_work(store) == ["study 2", "study 1", "study 0"]
    assert [(j.id, j.before) for j in jobs.listing(store)] == [(third, 2), (second, 1), (first, 0)]
    assert jobs.start(store, tiny_study(0), RUN) == first  # asked for again, it keeps its place
    assert jobs.waiting(store)[0] == first
    device.close()
    for ahead, behind in ((first, second), (second, third)):
        status = wait_for(store, ahead, at_work)
        assert status.began >= status.started
        assert jobs.status(store, behind).state == "queued"
        jobs.cancel(store, ahead)
    wait_for(store, third, at_work)
    assert jobs.waiting(store) == []


def test_a_queued_job_is_cancelled_at_once_and_a_killed_one_holds_up_nobody(store, on_cpu, hold):
    (device,) = hold("cpu")
    first, second, third = queue_up(store, 3)
    jobs.cancel(store, first)
    assert wait_for(store, first, finished, seconds=10).state == "cancelled"
    os.kill(jobs.status(store, second).pid, signal.SIGKILL)
    assert wait_for(store, second, finished, seconds=10).state == "died"
    assert jobs.waiting(store) == [third]
    device.close()
    wait_for(store, third, at_work)
    assert {jobs.status(store, job).state for job in (first, second)} == {"cancelled", "died"}


def test_each_of_two_devices_has_a_worker_of_its_own(store, monkeypatch, hold):
    monkeypatch.delenv("KLAS_DEVICE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    other, device = hold("gpu-4", "gpu-7")
    first, second, third = queue_up(store, 3)
    other.close()
    wait_for(store, first, at_work)
    assert jobs.waiting(store) == [second, third]
    device.close()
    wait_for(store, second, at_work)
    assert jobs.waiting(store) == [third]


def test_a_job_for_another_device_overtakes(store, monkeypatch, hold):
    hold("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("KLAS_DEVICE", "cpu")
    (first,) = queue_up(store, 1)
    monkeypatch.setenv("KLAS_DEVICE", "cuda:1")
    second = jobs.start(store, tiny_study(1), RUN)
    wait_for(store, second, at_work)
    assert jobs.waiting(store) == [first]


def test_an_estimate_does_not_wait_and_says_that_it_was_made_beside_a_worker(store, on_cpu, hold):
    hold("cpu")
    job = jobs.start(store, QUICK, {"kind": "estimate", "of": {"kind": "run", "until": "tuned"}})
    assert jobs.waiting(store) == []
    status = wait_for(store, job, finished)
    assert status.state == "done", status
    assert status.answer["seconds"] > 0
    assert status.answer["disk_bytes"] > 1e4
    assert status.answer["memory_bytes"] > 50e6
    assert status.answer["beside_other_work"]


@pytest.mark.parametrize(
    ("task", "trainings"),
    [
        ({"kind": "compare"}, None),
        ({"kind": "finetune", "metrics": ["kl", "snnet"]}, 2),
        ({"kind": "full_val", "tier": "tuned"}, 0),
    ],
)
def test_an_estimate_counts_what_is_missing(computed, on_cpu, task, trainings):
    store, document = computed
    names = [document["pairs"][1][end] for end in ("source", "target")]
    about = {"pair": names} if task["kind"] == "finetune" else {"pairs": [names]}
    job = jobs.start(store, SMALL, {"kind": "estimate", "of": task | about})
    status = wait_for(store, job, finished)
    assert status.state == "done", status
    found = status.answer.get("trainings", 0)
    assert found > 2 if trainings is None else found == trainings
    assert status.answer["seconds"] > 0
    assert not status.answer["beside_other_work"]


def test_a_job_that_ended_can_be_removed_and_one_that_waits_can_not(store, on_cpu, hold):
    hold("cpu")
    (job,) = queue_up(store, 1)
    with pytest.raises(JobError, match="cancel it first"):
        jobs.remove(store, job)
    jobs.cancel(store, job)
    wait_for(store, job, finished)
    jobs.remove(store, job)
    jobs.remove(store, job)  # in another tab
    assert jobs.jobs(store) == []
    assert jobs.status(store, job) is None
    with pytest.raises(JobError, match="was removed"):
        jobs.start_again(store, job)


def test_a_folder_that_cannot_be_written_is_a_sentence(store, monkeypatch):
    (store.root / "jobs").rmdir()
    (store.root / "jobs").write_text("in the way")
    with pytest.raises(JobError, match="cannot be started"):
        jobs.start(store, QUICK, RUN)
    assert jobs.listing(store) == []


def test_a_worker_goes_on_when_its_status_cannot_be_written(store, monkeypatch, capsys):
    def full(path, data):
        raise StoreError(f"{path}: cannot be written (No space left on device)")

    (store.root / "jobs" / "0123").mkdir()
    status = StatusFile(store.root / "jobs" / "0123", store, 0.0)
    monkeypatch.setattr(store, "write_file", full)
    status.start("anchors", "images", 10)
    status.write("failed", "the disk is full")
    assert "the disk is full" in capsys.readouterr().err  # the log, which a dead job shows


def test_workers_leave_a_core_to_the_page(monkeypatch, store):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "nice", lambda more: more)
    job = "0123"
    folder = store.root / "jobs" / job
    folder.mkdir()
    asked = {"study": None, "task": {"kind": "catalogue"}, "submitted": 0.0, "device": "cpu"}
    (folder / "job.json").write_text(json.dumps(asked))
    (folder / "cancel").touch()
    before = signal.getsignal(signal.SIGTERM)
    assert worker.main(folder, store.root) == 130
    signal.signal(signal.SIGTERM, before)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert jobs.status(store, job).state == "cancelled"


def test_a_refusal_reaches_the_status_in_one_sentence(store):
    data = QUICK.data.model_copy(update={"train": "/no/such/folder"})
    job = jobs.start(store, QUICK.model_copy(update={"data": data}), RUN)
    status = wait_for(store, job, finished)
    assert status.state == "failed"
    assert status.error.startswith("/no/such/folder: there is no such folder")


def test_joint_training_as_a_job(computed):
    store, document = computed
    pair = document["pairs"][0]
    task = {
        "kind": "finetune",
        "pair": [pair["source"], pair["target"]],
        "metrics": ["kl", "snnet"],
    }
    job = jobs.start(store, SMALL, task)
    status = wait_for(store, job, finished)
    assert status.state == "done", status
    assert [s.stage for s in status.stages if s.stage == "finetuned"] == ["finetuned"] * 2


def test_a_rival_that_is_trained_takes_in_every_bucket_as_many_as_the_choice(computed):
    store, document = computed
    pair = pairs_of(document)[0]
    study = change(SMALL, "selection", tau=0.5, metric="mse")
    task = {"kind": "finetune", "pair": list(pair.names), "metrics": ["mse", "cka"]}
    status = wait_for(store, jobs.start(store, study, task), finished)
    assert status.state == "done", status
    ours = choose(pair, study.selection)
    assert finetuned_accuracy(store, pair, ours.chosen, study) is not None
    assert finetuned_accuracy(store, pair, fair_share(pair, ours, "cka"), study) is not None


def test_a_worker_trains_every_method_and_a_training_that_diverges_stops_no_other(computed):
    store, document = computed
    study = change(SMALL, "finetuning", steps=2, lr=1e30)  # budgets of 0 and 2 steps
    (pair,) = [p for p in pairs_of(document) if p.names == ("digits_vit_tiny", "digits_vit_small")]
    task = {"kind": "compare", "pairs": [list(pair.names)]}
    status = wait_for(store, jobs.start(store, study, task), finished)
    assert status.state == "failed", status
    assert all(f"{pair.name}, {metric}: " in status.error for metric in METRICS)
    methods = entry_of(compare(document, study, store), pair.names)["methods"]
    assert all(method["budgets"]["0"]["mean_top1"] for method in methods.values())
    assert all(method["budgets"]["2"] is None for method in methods.values())


def test_the_catalogue_is_a_job_without_a_study_and_waits_for_no_device(store, on_cpu, hold):
    hold("cpu")
    job = jobs.start(store, None, {"kind": "catalogue"})
    status = wait_for(store, job, has_begun("catalogue"))
    assert status.stages[0].total > 1000
    assert jobs.studies_at_work(store) == [None]
    jobs.cancel(store, job)
    assert wait_for(store, job, finished).state == "cancelled"
    put_catalogue(store)
    assert jobs.start(store, None, {"kind": "catalogue"}) == job
    assert wait_for(store, job, finished).state == "done"


def test_there_is_nothing_to_say_of_a_job_that_never_was(store: Store):
    assert jobs.status(store, "0123456789abcdef") is None
    jobs.cancel(store, "0123456789abcdef")
    assert jobs.log(store, "0123456789abcdef") == ""
    with pytest.raises(JobError, match="is no job"):
        jobs.status(store, "../../etc")


def test_a_worker_measures_the_chosen_stitches_on_every_validation_image(computed):
    store, document = computed
    (pair, *_) = pairs_of(document)
    chosen = choose(pair, SMALL.selection).chosen
    names = [pair.source["name"], pair.target["name"]]
    assert full_val_accuracy(store, pair, chosen, SMALL, "tuned") is None
    task = {"kind": "full_val", "pairs": [names], "tier": "tuned"}
    status = wait_for(store, jobs.start(store, SMALL, task), finished)
    assert status.state == "done", status
    found = full_val_accuracy(store, pair, chosen, SMALL, "tuned")
    assert found["samples"] == document["data"]["val"]["images"] == 10_000
    assert set(found["accuracy"]) == {f"{i}-{j}" for i, j in pair.stitches[chosen]}
