"""What a worker does for each kind of job."""

import json
import os
import signal

import pytest

from klas.cli import worker
from klas.errors import StudyError
from klas.jobs import process
from klas.jobs.kinds import (
    CatalogueJob,
    CompareJob,
    EstimateJob,
    FinetuneJob,
    FullValJob,
    LatencyJob,
)
from klas.jobs.listing import status_of, studies_at_work
from klas.results.accuracies import finetuned_accuracy, full_val_accuracy, raced
from klas.results.comparison import compare
from klas.results.comparison_view import entry_of
from klas.results.pair import pairs_of
from klas.results.selections import choose, fair_share
from klas.study import METRICS, change
from tests.conftest import SMALL
from tests.jobs.workers import QUICK, RUN, finished, has_begun, wait_for, waiting
from tests.small_catalogue import put_catalogue

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_worker_left")]


def test_workers_give_way_to_the_page_and_take_every_core_else(monkeypatch, store):
    monkeypatch.delenv("OMP_NUM_THREADS")
    given_way = []
    monkeypatch.setattr(os, "nice", given_way.append)
    job = "0123"
    folder = store.root / "jobs" / job
    folder.mkdir()
    asked = {"study": None, "task": {"kind": "catalogue"}, "submitted": 0.0, "device": "cpu"}
    (folder / "job.json").write_text(json.dumps(asked))
    (folder / "cancel").touch()
    before = signal.getsignal(signal.SIGTERM)
    assert worker.main(folder, store.root) == 130
    signal.signal(signal.SIGTERM, before)
    assert given_way == [worker.NICENESS]
    assert "OMP_NUM_THREADS" not in os.environ
    assert status_of(store, job).state == "cancelled"


def test_a_refusal_reaches_the_status_in_one_sentence(store, monkeypatch):
    monkeypatch.setenv("KLAS_DATA_ROOTS", "/no")
    data = QUICK.data.model_copy(update={"train": "/no/such/folder"})
    job = process.start(store, QUICK.model_copy(update={"data": data}), RUN)
    status = wait_for(store, job, finished)
    assert status.state == "failed"
    assert status.error.startswith("/no/such/folder: there is no such folder")


def test_a_worker_reads_no_folder_that_the_app_may_not_whoever_asked(store, monkeypatch):
    data = QUICK.data.model_copy(update={"train": "/etc"})
    with pytest.raises(StudyError, match=r"data\.train: /etc lies in no folder .* KLAS_DATA_ROOTS"):
        process.start(store, QUICK.model_copy(update={"data": data}), RUN)
    monkeypatch.setenv("KLAS_DATA_ROOTS", "/etc")
    job = process.start(store, QUICK.model_copy(update={"data": data}), RUN)
    assert "KLAS_DATA_ROOTS" not in wait_for(store, job, finished).error
    monkeypatch.delenv("KLAS_DATA_ROOTS")
    process.start_again(store, job)  # an older job, of its own copy of the study
    status = wait_for(store, job, finished)
    assert status.state == "failed"
    assert "KLAS_DATA_ROOTS" in status.error


def test_an_estimate_does_not_wait_and_says_that_it_was_made_beside_a_worker(store, on_cpu, hold):
    hold("cpu")
    job = process.start(store, QUICK, EstimateJob(of=RUN))
    assert waiting(store) == []
    status = wait_for(store, job, finished)
    assert status.state == "done", status.error
    assert status.answer.seconds > 0
    assert status.answer.disk_bytes > 1e4
    assert status.answer.memory_bytes > 50e6
    assert status.answer.beside_other_work


@pytest.mark.parametrize(
    ("job_of", "trainings"),
    [
        (lambda names: CompareJob(pairs=(names,)), None),
        (lambda names: FinetuneJob(pair=names, metrics=("kl", "snnet")), 2),
        (lambda names: FullValJob(pairs=(names,), tier="tuned"), 0),
    ],
)
def test_an_estimate_counts_what_is_missing(computed, on_cpu, job_of, trainings):
    store, document = computed
    names = pairs_of(document)[1].names
    job = process.start(store, SMALL, EstimateJob(of=job_of(names)))
    status = wait_for(store, job, finished)
    assert status.state == "done", status.error
    count = status.answer.trainings or 0
    assert count > 2 if trainings is None else count == trainings
    assert status.answer.seconds > 0
    assert not status.answer.beside_other_work


def test_joint_training_as_a_job(computed):
    store, document = computed
    pair = pairs_of(document)[0]
    methods = ("kl", "snnet", "race")
    job = process.start(store, SMALL, FinetuneJob(pair=pair.names, metrics=methods))
    status = wait_for(store, job, finished)
    assert status.state == "done", status.error
    assert [s.stage for s in status.stages if s.stage == "finetuned"] == ["finetuned"] * 3
    picked = choose(pair, SMALL.selection)
    over = raced(store, pair, fair_share(pair, picked, "race"), SMALL, picked.bucket)
    assert set(over["accuracy"]) == set(over["left"]) < set(over["rungs"][0]["accuracy"])


def test_a_rival_that_is_trained_takes_in_every_bucket_as_many_as_the_choice(computed):
    store, document = computed
    pair = pairs_of(document)[0]
    study = change(SMALL, "selection", tau=0.5, metric="mse")
    job = process.start(store, study, FinetuneJob(pair=pair.names, metrics=("mse", "cka")))
    status = wait_for(store, job, finished)
    assert status.state == "done", status.error
    ours = choose(pair, study.selection)
    assert finetuned_accuracy(store, pair, ours.chosen, study) is not None
    assert finetuned_accuracy(store, pair, fair_share(pair, ours, "cka"), study) is not None


def test_a_worker_trains_every_method_and_a_training_that_diverges_stops_no_other(computed):
    store, document = computed
    study = change(SMALL, "finetuning", steps=2, lr=1e30)  # budgets of 0 and 2 steps
    (pair,) = [p for p in pairs_of(document) if p.names == ("digits_vit_tiny", "digits_vit_small")]
    job = process.start(store, study, CompareJob(pairs=(pair.names,)))
    status = wait_for(store, job, finished)
    assert status.state == "failed", status
    assert all(f"{pair.name}, {metric}: " in status.error for metric in METRICS)
    methods = entry_of(compare(document, study, store), pair.names)["methods"]
    assert all(method["budgets"]["0"]["mean_top1"] for method in methods.values())
    assert all(method["budgets"]["2"] is None for method in methods.values())


def test_the_catalogue_is_a_job_without_a_study_and_waits_for_no_device(store, on_cpu, hold):
    hold("cpu")
    job = process.start(store, None, CatalogueJob())
    status = wait_for(store, job, has_begun("catalogue"))
    assert status.stages[0].total > 1000
    assert studies_at_work(store) == [None]
    process.cancel(store, job)
    assert wait_for(store, job, finished).state == "cancelled"
    put_catalogue(store)
    assert process.start(store, None, CatalogueJob()) == job
    assert wait_for(store, job, finished).state == "done"


def test_a_worker_measures_the_chosen_stitches_on_every_validation_image(computed):
    store, document = computed
    (pair, *_) = pairs_of(document)
    chosen = choose(pair, SMALL.selection).chosen
    assert full_val_accuracy(store, pair, chosen, SMALL, "tuned") is None
    job = process.start(store, SMALL, FullValJob(pairs=(pair.names,), tier="tuned"))
    status = wait_for(store, job, finished)
    assert status.state == "done", status.error
    measured = full_val_accuracy(store, pair, chosen, SMALL, "tuned")
    assert measured["samples"] == document["data"]["val"]["images"] == 10_000
    assert set(measured["accuracy"]) == {f"{i}-{j}" for i, j in pair.stitches[chosen]}


def test_a_pair_that_the_study_has_not_is_a_sentence(computed, on_cpu):
    store, _ = computed
    job = process.start(store, SMALL, LatencyJob(pairs=(("a", "b"),)))
    status = wait_for(store, job, finished)
    assert status.state == "failed"
    assert status.error == "a → b: the study has no such pair"


def test_a_worker_that_finds_an_unknown_kind_says_that_a_newer_klas_may_know_it(store, on_cpu):
    folder = store.root / "jobs" / "0123"
    folder.mkdir()
    asked = {"study": None, "task": {"kind": "merge"}, "submitted": 0.0, "device": "cpu"}
    (folder / "job.json").write_text(json.dumps(asked))
    assert worker.answer(folder, store.root) == 1
    status = status_of(store, "0123")
    assert status.state == "failed"
    assert status.error == "the kind of this job (merge) is unknown here; a newer klas may know it"


def test_a_worker_without_a_job_says_so(store, capsys):
    assert worker.answer(store.root / "jobs" / "0123", store.root) == 1
    assert "there is no job in this folder" in capsys.readouterr().err
