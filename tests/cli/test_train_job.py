"""What a worker makes of a training job: an elastic network, beforehand what it takes."""

import shutil

import pytest

import klas
from klas.deploy.training.log import LOG, read_log
from klas.deploy.training.loop import CHECKPOINT
from klas.errors import StoreError
from klas.jobs import process
from klas.jobs.kinds import EstimateJob, TrainJob
from klas.recipe import TrainingSpec
from klas.results.formats import read
from klas.results.freeing import free_networks
from klas.results.pair import pairs_of
from klas.results.usage import usage
from klas.storage.locks import try_lock
from klas.storage.sealed import is_whole
from klas.storage.trained import LIST, StoredTraining, stored_trainings, training_folder
from tests.conftest import SMALL
from tests.jobs.workers import finished, has_begun, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_worker_left")]

PLAIN = {"aa": "", "mixup": 0.0, "cutmix": 0.0, "scale": (1.0, 1.0), "reprob": 0.0}
RECIPE = TrainingSpec(steps=6, batch=16, log_every=1, checkpoint_seconds=0.0, **PLAIN)


def stitches(computed):
    """The first stitch of every pair."""
    return tuple((*pair.names, *pair.everywhere[0]) for pair in pairs_of(computed[1]))


def ended(store, job):
    name = process.start(store, SMALL, job)
    return name, wait_for(store, name, finished)


@pytest.fixture
def nothing_kept(computed):
    """The store, in which a test leaves no training."""
    yield computed[0]
    shutil.rmtree(computed[0].root / "trained", ignore_errors=True)


def test_stitches_of_several_pairs_become_one_network_that_is_sealed(
    computed, nothing_kept, on_cpu
):
    store, wanted = nothing_kept, stitches(computed)
    assert len({stitch[:2] for stitch in wanted}) > 1
    job = TrainJob(stitches=wanted, recipe=RECIPE)
    with (store.root / "locks" / "device-cpu.lock").open("ab") as device:
        assert try_lock(device)  # an estimate doesn't wait for it
        _, estimate = ended(store, EstimateJob(of=job))
    assert estimate.state == "done", estimate.error
    assert estimate.answer.seconds > 0
    assert estimate.answer.disk_bytes > 1e4
    assert estimate.answer.beside_other_work
    assert stored_trainings(store) == []
    name, status = ended(store, job)
    assert status.state == "done", status.error
    assert [stage.stage for stage in status.stages][-2:] == ["train", "measure"]
    folder = training_folder(store, name)
    assert stored_trainings(store) == [StoredTraining(name=name, folder=folder)]
    assert stored_trainings(store)[0].finished
    assert is_whole(folder)
    assert usage(store).trained[1] > 4 * 1000
    elastic = klas.load(folder)
    names = {f"{f}:{i}-{g}:{j}" for f, g, i, j in wanted} | {n for s in wanted for n in s[:2]}
    assert {member.name for member in elastic.members} == names
    assert all("trained" in member.accuracy for member in elastic.members)
    assert len([row for row in read_log(folder / LOG) if row["loss"]]) == RECIPE.steps
    listed = read(folder / LIST, "klas-stitches")["stitches"]
    assert {(s["source"], s["target"], s["source_block"], s["target_block"]) for s in listed} == (
        set(wanted)
    )


def test_a_stopped_training_goes_on_from_its_checkpoint(computed, nothing_kept, on_cpu):
    store = nothing_kept
    recipe = RECIPE.model_copy(update={"steps": 3000})
    job = TrainJob(stitches=stitches(computed)[:1], recipe=recipe)
    name = process.start(store, SMALL, job)
    wait_for(store, name, has_begun("train"))
    with pytest.raises(StoreError, match=f"a job on study {SMALL.name}"):
        free_networks(store, "trained", at_work=[])
    process.cancel(store, name)
    stopped = wait_for(store, name, finished)
    assert stopped.state == "cancelled"
    folder = training_folder(store, name)
    assert (folder / CHECKPOINT).exists()
    assert not stored_trainings(store)[0].finished
    process.start_again(store, name)
    again = wait_for(store, name, lambda s: finished(s) or "train" in [x.stage for x in s.stages])
    assert again.stages[-1].done >= stopped.stages[-1].done > 0
    process.cancel(store, name)
    wait_for(store, name, finished)


def test_one_that_diverges_names_step_and_member_and_keeps_its_curves(
    computed, nothing_kept, on_cpu
):
    store = nothing_kept
    recipe = RECIPE.model_copy(update={"lr": 1e30, "clip": 0.0, "warmup": 0.0})
    wanted = stitches(computed)[:1]
    name, status = ended(store, TrainJob(stitches=wanted, recipe=recipe))
    assert status.state == "failed"
    assert "the training diverged at step " in status.error
    assert ", member digits_" in status.error
    assert "Traceback" not in process.log(store, name)
    # Where there was a checkpoint it is kept, with the curves; else nothing is.
    assert all((one.folder / CHECKPOINT).exists() for one in stored_trainings(store))


@pytest.mark.parametrize(
    ("change", "stitch", "words"),
    [
        ({"accumulate": 7}, None, "batch = 16: is taken in 7 parts"),
        ({"opt": "luck"}, None, "opt = 'luck': is no optimiser of timm's"),
        ({}, ("a", "b", 1, 1), "a → b: the study has no stitch 1 → 1"),
    ],
)
def test_what_does_not_fit_is_a_sentence_and_leaves_no_folder(
    computed, nothing_kept, on_cpu, change, stitch, words
):
    store = nothing_kept
    wanted = stitches(computed)[:1] if stitch is None else (stitch,)
    job = TrainJob(stitches=wanted, recipe=RECIPE.model_copy(update=change))
    name, status = ended(store, job)
    assert status.state == "failed"
    assert words in status.error
    assert not training_folder(store, name).exists()
