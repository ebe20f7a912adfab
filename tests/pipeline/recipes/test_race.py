"""A race through the pipeline: who starts, who is kept, what is stored, compared and taken away."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from klas.deploy.load import load_stitch
from klas.deploy.weights_file import save_layers
from klas.errors import SelectionError
from klas.pipeline.run import Pipeline
from klas.results import trainings
from klas.results.accuracies import finetuned_accuracy, raced
from klas.results.comparison import compare
from klas.results.formats import dumps, write
from klas.results.pair import pairs_of
from klas.results.race_note import race_note
from klas.results.selections import choose, racing_in
from klas.results.stitch_list import stitch_list
from klas.results.trainings import joint_training
from klas.selection.race import RUNG_SAMPLES, rung_steps
from klas.selection.space import name_of
from klas.storage.store import Store
from klas.study import change
from tests.conftest import SMALL

pytestmark = pytest.mark.slow

RACE = change(SMALL, "selection", metric="race", buckets=2)
VAL = SMALL.data.val_samples
SOME = 1  # a pair whose target has batch normalisation: statistics are each member's own


@pytest.fixture(scope="module")
def race(computed, tmp_path_factory):
    """The pipeline after a race of one pair, the pair, who started, and what came of it."""
    store, document = computed
    folder = tmp_path_factory.mktemp("race") / "store"
    shutil.copytree(store.root, folder)
    own = Store(folder)
    pipeline = Pipeline(RACE, own, device="cpu")
    pair = pairs_of(document)[SOME]
    selection = choose(pair, RACE.selection)
    racing = racing_in(selection, "race")
    result = pipeline.finetune(pair, selection.chosen, racing)
    yield pipeline, pair, selection, result
    own.close()


def test_a_race_keeps_the_best_of_every_bucket_at_every_rung(race):
    _, pair, selection, result = race
    started = {name_of(place) for place in pair.places(selection.chosen)}
    bucket = dict(zip(map(name_of, pair.everywhere), selection.bucket.tolist()))
    at_rungs = [rung["accuracy"] for rung in result["rungs"]]
    assert [rung["step"] for rung in result["rungs"]] == [
        step for step, _ in rung_steps(SMALL.finetuning.steps)
    ]
    assert at_rungs[0].keys() == started
    left = [*at_rungs, result["accuracy"]]
    for (measured, after), (_, kept) in zip(
        pairwise(left), rung_steps(SMALL.finetuning.steps), strict=True
    ):
        for b in {*bucket.values()}:
            here = {name: value for name, value in measured.items() if bucket[name] == b}
            on = [name for name in after if bucket[name] == b]
            assert len(on) == min(kept, len(here))
            out = [value for name, value in here.items() if name not in on]
            assert not out or min(here[name] for name in on) >= max(out)
    assert len(started) > len(result["accuracy"])


def test_what_a_rung_measures_is_what_the_networks_do_then(race, tmp_path):
    """Without any step the first rung measures the fitted stitches, as tier zero_shot does."""
    pipeline, pair, selection, _ = race
    study = change(RACE, "finetuning", steps=0)
    still = Pipeline(study, pipeline.store, device="cpu")
    result = still.finetune(pair, selection.chosen, racing_in(selection, "race"))
    assert VAL <= RUNG_SAMPLES  # so that both see all samples
    zero_shot = dict(zip(map(name_of, pair.everywhere), pair.accuracy("zero_shot")))
    for name, accuracy in result["rungs"][0]["accuracy"].items():
        assert accuracy == pytest.approx(zero_shot[name])
    for name, accuracy in result["accuracy"].items():
        assert accuracy == pytest.approx(zero_shot[name])


def test_a_race_is_another_result_than_the_training_of_its_stitches(race):
    pipeline, pair, selection, _ = race
    keys, settings = pipeline.context.keys, SMALL.finetuning
    racing = racing_in(selection, "race")
    raced_too = joint_training(pair, selection.chosen, settings, racing)
    plain = joint_training(pair, selection.chosen, settings)
    assert keys.of(raced_too) != keys.of(plain)
    assert keys.of(raced_too.weights) != keys.of(plain.weights)
    others = joint_training(pair, selection.chosen, settings, np.zeros_like(racing))
    assert keys.of(others) != keys.of(raced_too)  # other buckets are another race
    assert finetuned_accuracy(pipeline.store, pair, selection.chosen, SMALL) is None
    assert finetuned_accuracy(pipeline.store, pair, selection.chosen, SMALL, racing) is not None


def test_a_list_has_what_was_kept_and_its_networks_do_what_was_measured(race, tmp_path):
    pipeline, pair, selection, result = race
    racing = racing_in(selection, "race")

    def finetuned(of, chosen):
        return finetuned_accuracy(pipeline.store, of, chosen, RACE, racing)

    weights = save_layers(
        pipeline, [(pair, selection.chosen, racing)], "finetuned", tmp_path / "w.safetensors"
    )
    listed = stitch_list(
        pair.document, RACE.selection, pairs=[pair], finetuned=finetuned, weights_file=weights
    )
    names = [f"{s['source_block']}-{s['target_block']}" for s in listed["stitches"]]
    assert sorted(names) == sorted(result["accuracy"])
    for stitch, name in zip(listed["stitches"], names):
        assert stitch["accuracy"]["finetuned"] == result["accuracy"][name]
        assert stitch["score"] is None
    write(listed, tmp_path / "list.json")
    context = pipeline.context
    network = load_stitch(tmp_path / "list.json", 0)
    right = np.concatenate(
        [
            (network(images).argmax(1) == labels).numpy()
            for images, labels in context.batches(
                context.val.images, context.val.rows, pair.names[0]
            )
        ]
    )
    assert right.mean() == pytest.approx(result["accuracy"][names[0]])


def test_before_the_race_there_is_no_list_but_a_sentence(computed):
    _, document = computed
    with pytest.raises(SelectionError, match="decided by training; run `klas finetune"):
        stitch_list(document, RACE.selection, finetuned=lambda pair, chosen: None)


def test_the_comparison_shows_the_race_where_it_was_run(race, monkeypatch):
    pipeline, pair, _, result = race
    monkeypatch.setattr(trainings, "METRICS", ("race",))
    study = change(SMALL, "selection", buckets=2)
    # The same race: it starts from the buckets of the study's selection.
    compared = json.loads(dumps(compare(pair.document, study, pipeline.store)))
    entry = compared["pairs"][SOME]
    assert len(entry["chosen"]["race"]) == len(result["accuracy"])
    figures = entry["methods"]["race"]
    assert figures["finetuned"]["mean_top1"] is not None
    for name in ("overlap", "containment", "spearman", "zero_shot", "tuned"):
        assert figures[name] is None
    other = compared["pairs"][SOME - 1]
    assert other["methods"]["race"]["finetuned"] is None
    assert len(other["chosen"]["race"]) > 0  # who would start


def test_a_race_can_be_watched_and_leaves_no_note(race):
    pipeline, pair, selection, result = race
    racing = racing_in(selection, "race")
    over = raced(pipeline.store, pair, selection.chosen, RACE, racing)
    assert over == {
        "rungs": result["rungs"],
        "left": [*result["accuracy"]],
        "accuracy": result["accuracy"],
        "steps": SMALL.finetuning.steps,
    }
    longer = change(RACE, "finetuning", steps=1_000)
    assert raced(pipeline.store, pair, selection.chosen, longer, racing) is None
    training = joint_training(pair, selection.chosen, longer.finetuning, racing)
    note = race_note(pipeline.store, pipeline.context.keys.of(training))
    note.add(250, {"1-1": 0.5, "1-2": 0.25})
    note.add(500, {"1-1": 0.75})
    note.add(500, {"1-1": 0.75})  # it went on from a checkpoint
    watched = raced(pipeline.store, pair, selection.chosen, longer, racing)
    assert watched == {
        "rungs": [
            {"step": 250, "accuracy": {"1-1": 0.5, "1-2": 0.25}},
            {"step": 500, "accuracy": {"1-1": 0.75}},
        ],
        "left": ["1-1"],
        "accuracy": None,
        "steps": 1_000,
    }
    note.path.write_text("[{")
    assert raced(pipeline.store, pair, selection.chosen, longer, racing) is None
    note.remove()
    assert not [*(pipeline.store.root / "tmp").glob("*.race.json")]
