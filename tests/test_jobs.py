import os
import signal
import time

import pytest

from klas import jobs
from klas.comparison import compare
from klas.errors import JobError
from klas.results import choose, full_val_accuracy, pairs_of
from klas.store import Store
from klas.study import METRICS, change
from tests.conftest import SMALL
from tests.small_catalogue import put_catalogue

RUN = {"kind": "run", "until": "tuned"}


def wait_for(store, job, condition, seconds=120):
    """The first status that satisfies the condition; fails when time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = jobs.status(store, job)
        if condition(status):
            return status
        os.sched_yield()
    raise AssertionError(f"still {status} after {seconds} s\n{jobs.log(store, job)}")


def finished(status):
    return status.state != "running"


def has_begun(stage):
    return lambda s: finished(s) or any(x.stage == stage and x.done for x in s.stages)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_job_computes_the_study_and_tells_every_stage(store):
    job = jobs.start(store, SMALL, RUN)
    assert jobs.start(store, SMALL, RUN) == job  # asked for twice, it runs once
    assert jobs.running(store) == [job]
    status = wait_for(store, job, finished)
    assert status.state == "done", status
    assert [s.stage for s in status.stages][-1] == "tuned"
    assert all(s.done == s.total > 0 for s in status.stages)
    assert status.device
    assert status.memory_bytes > 50e6
    assert jobs.running(store) == []
    assert store.get_ref(f"scores-{SMALL.results_key()}")["pairs"][0]["theta"] is not None


def test_a_cancelled_job_keeps_what_it_finished_and_goes_on_later(store):
    job = jobs.start(store, SMALL, RUN)
    wait_for(store, job, has_begun("zero_shot"))
    jobs.cancel(store, job)
    assert wait_for(store, job, finished).state == "cancelled"
    kept = {e.digest for e in store.entries() if e.stage in ("features", "probes")}
    assert kept
    assert jobs.start(store, SMALL, RUN) == job
    status = wait_for(store, job, finished)
    assert status.state == "done"
    assert {s.stage: s.total for s in status.stages}["features"] == 0  # from the cache
    assert kept <= {e.digest for e in store.entries()}


def test_a_killed_worker_is_seen_to_have_died(store):
    job = jobs.start(store, SMALL, RUN)
    status = wait_for(store, job, has_begun("anchors"))
    os.kill(status.pid, signal.SIGKILL)
    status = wait_for(store, job, finished)
    assert status.state == "died"
    assert "without finishing" in status.error
    assert store.verify() == []


def test_a_refusal_reaches_the_status_in_one_sentence(store):
    data = SMALL.data.model_copy(update={"train": "/no/such/folder"})
    job = jobs.start(store, SMALL.model_copy(update={"data": data}), RUN)
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


def test_a_worker_trains_every_method_and_a_training_that_diverges_stops_no_other(computed):
    store, document = computed
    study = change(SMALL, "finetuning", steps=2, lr=1e30)  # budgets of 0 and 2 steps
    (pair,) = [p for p in pairs_of(document) if p.names == ("digits_vit_tiny", "digits_vit_small")]
    task = {"kind": "compare", "pairs": [list(pair.names)]}
    status = wait_for(store, jobs.start(store, study, task), finished)
    assert status.state == "failed", status
    assert all(f"{pair.name}, {metric}: " in status.error for metric in METRICS)
    found = compare(document, study, store)["pairs"]
    (methods,) = [p["methods"] for p in found if (p["source"], p["target"]) == pair.names]
    assert all(method["budgets"]["0"]["mean_top1"] for method in methods.values())
    assert all(method["budgets"]["2"] is None for method in methods.values())


def test_the_catalogue_is_a_job_without_a_study(store):
    job = jobs.start(store, None, {"kind": "catalogue"})
    status = wait_for(store, job, has_begun("catalogue"))
    assert status.stages[0].total > 1000
    jobs.cancel(store, job)
    assert wait_for(store, job, finished).state == "cancelled"
    put_catalogue(store)
    assert jobs.start(store, None, {"kind": "catalogue"}) == job
    assert wait_for(store, job, finished).state == "done"


def test_a_job_knows_the_study_that_it_works_on(store):
    data = SMALL.data.model_copy(update={"train": "/no/such/folder"})
    job = jobs.start(store, SMALL.model_copy(update={"data": data}), RUN)
    assert jobs.study_name(store, job) == SMALL.name
    wait_for(store, job, finished)
    put_catalogue(store)
    job = jobs.start(store, None, {"kind": "catalogue"})
    assert jobs.study_name(store, job) is None
    wait_for(store, job, finished)
    assert jobs.study_name(store, "0123456789abcdef") is None


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
