"""Tuning that diverges: the stitch is left out, named everywhere, and nothing else suffers."""

import shutil

import numpy as np
import pytest

from klas.cli.tables.study import anchor_tables
from klas.deploy.weights_file import save_layers
from klas.errors import KlasError, SelectionError
from klas.measures.training import tune
from klas.pipeline.recipes import tuned as recipe
from klas.pipeline.recipes.registry import recipe_of
from klas.pipeline.recipes.zero_shot import measure_group
from klas.pipeline.run import Pipeline
from klas.results.comparison import compare
from klas.results.formats import write
from klas.results.notes import notes
from klas.results.pair import pairs_of
from klas.results.result import DIVERGED, Tuned, ZeroShot
from klas.results.selections import choose
from klas.results.stages import stages_done
from klas.storage.store import Store
from klas.study import AnchorSpec, change
from tests.conftest import SMALL

NAMES = ("digits_vit_tiny", "digits_convnet")
STUDY = SMALL.model_copy(
    update={
        "anchors": tuple(AnchorSpec(name=name, model=name) for name in NAMES),
        "data": SMALL.data.model_copy(update={"train_samples": 300, "val_samples": 200}),
    }
)


@pytest.fixture(scope="module")
def untuned(tmp_path_factory):
    """A store in which all before the tuning is computed; who uses it takes a copy."""
    folder = tmp_path_factory.mktemp("untuned") / "cache"
    with Store(folder) as store:
        Pipeline(STUDY, store, device="cpu").run("zero_shot")
    return folder


def copied(folder, tmp_path):
    return Store(shutil.copytree(folder, tmp_path / "cache"))


@pytest.fixture(scope="module")
def sound(untuned, tmp_path_factory):
    """The document and the tuned arrays of a study in which all is well."""
    with copied(untuned, tmp_path_factory.mktemp("sound")) as store:
        _, document, arrays = tuned(store)
        return document, {name: values.copy() for name, values in arrays.items()}


def spoil(monkeypatch, place, value):
    """Let one stitch's layer end at a value, whatever it learned."""

    def spoiled(family, *args, **settings):
        tune(family, *args, **settings)
        if place in family.places:  # of this group
            family.layer(place).weight.data.fill_(value)

    monkeypatch.setattr(recipe, "tune", spoiled)


def tuned(store, study=STUDY):
    pipeline = Pipeline(study, store, device="cpu")
    document = pipeline.run()
    return pipeline, document, pipeline.context.read(Tuned(source=NAMES[0], target=NAMES[1]))


def test_a_group_alone_is_what_it_is_beside_all_others(untuned, sound, tmp_path):
    """To the bit, also where the target has statistics: so groups may be made anywhere."""
    _, whole = sound
    ends = {"source": NAMES[0], "target": NAMES[1]}
    with copied(untuned, tmp_path) as store:
        context = Pipeline(STUDY, store, device="cpu").context
        places = context.places(*NAMES)
        measured = context.read(ZeroShot(**ends))
        for result, make, arrays in (
            (ZeroShot(**ends), measure_group, measured),
            (Tuned(**ends), recipe.tune_group, whole),
        ):
            joined, done = {}, []
            for group in (places[:1], places[1:4], places[4:]):
                part = make(result, context, group, done.append)
                assert part.keys() & joined.keys() <= {DIVERGED}
                joined |= part
            assert joined.keys() == arrays.keys()
            assert all(np.array_equal(joined[name], arrays[name]) for name in arrays)
            assert sum(done) == recipe_of(result).units(result, context)


def test_a_rate_that_is_too_high_leaves_nothing_that_is_worse_than_before(untuned, tmp_path):
    with copied(untuned, tmp_path) as store:
        pipeline, document, _ = tuned(store, change(STUDY, "tuning", lr=1e4))
        assert pipeline.run() == document  # and it is cached
    (pair,) = document["pairs"]
    places = [[c["source_block"], c["target_block"]] for c in pair["candidates"]]
    assert pair["diverged"] == places
    assert [c["accuracy"]["tuned"] for c in pair["candidates"]] == [None] * len(places)
    assert None not in [c["accuracy"]["zero_shot"] for c in pair["candidates"]]
    assert stages_done(document)["tuned"] == (1, 1)
    (note,) = notes(document)
    assert f"the tuning of {len(places)} of {len(places)} stitches diverged (1 → 1, " in note
    assert note in anchor_tables(document)


@pytest.mark.parametrize("value", [float("nan"), 1e3])
def test_one_that_diverges_is_left_out_and_the_others_are_as_ever(
    monkeypatch, untuned, sound, tmp_path, value
):
    before, sound = sound
    spoil(monkeypatch, (2, 1), value)
    with copied(untuned, tmp_path) as store:
        pipeline, document, arrays = tuned(store)
        (pair,) = pairs_of(document)
        assert pair.places(pair.diverged) == [(2, 1)]
        assert arrays[DIVERGED].tolist() == [[2, 1]]
        assert not any("2-1" in name for name in arrays)
        assert sound[DIVERGED].shape == (0, 2)
        assert {n for n in sound if "2-1" not in n} == set(arrays)
        assert all(np.array_equal(arrays[n], sound[n]) for n in arrays if n != DIVERGED)
        assert np.isnan(pair.accuracy("tuned")).tolist() == pair.diverged.tolist()
        others = pair.accuracy("tuned")[~pair.diverged]
        assert others.tolist() == pairs_of(before)[0].accuracy("tuned")[~pair.diverged].tolist()
        everywhere = np.ones(len(pair.macs), dtype=bool)
        assert not pair.unmeasured(pair.accuracy("tuned"), everywhere).any()
        write(document, tmp_path / "scores.json")
        assert stages_done(document)["tuned"] == (1, 1)
        _compared_without(document, before, store, tmp_path)
        _delivered_without(pipeline, pair, everywhere, tmp_path)


def _compared_without(document, before, store, folder):
    """A comparison judges the others alone: as if the stitch had never been a candidate."""
    (entry,) = compare(document, STUDY, store)["pairs"]
    for method in entry["chosen"].values():
        for stitch in method:
            gone = (stitch["source_block"], stitch["target_block"]) == (2, 1)
            assert (stitch["accuracy"]["tuned"] is None) == gone
    without = {**document, "pairs": [dict(document["pairs"][0])]}
    without["pairs"][0]["candidates"] = [
        c
        for c in without["pairs"][0]["candidates"]
        if (c["source_block"], c["target_block"]) != (2, 1)
    ]
    (pair,) = pairs_of(without)
    oracle = pair.accuracy("tuned")
    scores = pair.scores("theta")[pair.in_space]
    ranks = [np.argsort(np.argsort(v)) for v in (scores, -oracle[pair.in_space])]
    if len(set(oracle[pair.in_space])) == len(scores):
        rho = np.corrcoef(*ranks)[0, 1]
        assert entry["methods"]["theta"]["spearman"]["value"] == pytest.approx(rho)


def _delivered_without(pipeline, pair, chosen, folder):
    with pytest.raises(SelectionError, match=r"2 → 1: its tuning diverged.*lower \[tuning\] lr"):
        save_layers(pipeline, [(pair, chosen, None)], "tuned", folder / "w.safetensors")
    measured = pipeline.full_validation(pair, chosen, "tuned")
    assert set(measured["accuracy"]) == {
        f"{i}-{j}" for i, j in pair.places(chosen) if (i, j) != (2, 1)
    }
    save_layers(
        pipeline, [(pair, chosen & ~pair.diverged, None)], "tuned", folder / "w.safetensors"
    )


def test_a_study_of_before_names_none(sound):
    document, _ = sound
    old = {k: v for k, v in document["pairs"][0].items() if k != "diverged"}
    (pair,) = pairs_of({**document, "pairs": [old]})
    assert not pair.diverged.any()
    assert choose(pair, STUDY.selection).chosen.any()
    assert not any("diverged" in note for note in notes({**document, "pairs": [old]}))


def test_a_batch_of_one_image_cannot_be_normalised(untuned, tmp_path):
    with (
        copied(untuned, tmp_path) as store,
        pytest.raises(KlasError, match=r"\[tuning\] batch = 1: digits_convnet normalises"),
    ):
        tuned(store, change(STUDY, "tuning", batch=1))
