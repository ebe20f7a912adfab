"""Networks of a study that was computed: they equal what was measured, to the bit."""

import shutil

import numpy as np
import pytest
import torch

from klas.deploy.export.stored import stored_network
from klas.deploy.member import stitch_name
from klas.errors import SelectionError
from klas.pipeline.run import Pipeline
from klas.results.pair import pairs_of
from klas.results.result import Fit, Tuned
from klas.results.selections import choose, fair_share, racing_in
from klas.results.trainings import joint_training
from klas.storage.store import Store
from klas.study import change
from tests.conftest import SMALL
from tests.stored import key_of

PAIR = ("digits_vit_tiny", "digits_convnet")  # its target has normalisation statistics
IMAGES = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def pipeline(computed):
    return Pipeline(SMALL, computed[0], device="cpu")


@pytest.fixture
def pair(computed):
    return next(pair for pair in pairs_of(computed[1]) if pair.names == PAIR)


def measured(pipeline, pair, chosen, tier, place, racing=None):
    """The outputs of the stitch as the pipeline measures it."""
    arrays = pipeline.stored_layers(pair, chosen, tier, racing)
    family = pipeline.context.family(pair.names, arrays, [place])
    with torch.no_grad():
        return family.use(place)(IMAGES)


def outputs(network):
    with torch.no_grad():
        return network(IMAGES)


def named(pair, place):
    return stitch_name(pair.names[0], place[0], pair.names[1], place[1])


@pytest.mark.parametrize("tier", ["zero_shot", "tuned"])
def test_a_stitch_is_the_one_that_was_measured_chosen_or_not(pipeline, pair, tier):
    every = np.ones(len(pair.macs), dtype=bool)
    for row in (0, len(every) - 1):
        place = pair.everywhere[row]
        network = stored_network(pipeline.store, SMALL, named(pair, place), tier)
        assert torch.equal(outputs(network), measured(pipeline, pair, every, tier, place))
        assert network.tier == tier
        assert network.class_names == tuple("0123456789")
        entry = pair.raw["candidates"][row]
        assert (network.member.macs, network.member.params) == (entry["macs"], entry["params"])
        assert network.member.accuracy[tier] == entry["accuracy"][tier]


def test_a_jointly_trained_stitch_takes_its_trained_anchors_by_default_of_the_own_choice(
    pipeline, pair
):
    chosen = choose(pair, SMALL.selection).chosen
    (place, *_) = pair.places(chosen)
    best_before = stored_network(pipeline.store, SMALL, named(pair, place))
    assert best_before.tier == "tuned"
    trained = pipeline.finetune(pair, chosen)
    network = stored_network(pipeline.store, SMALL, named(pair, place))
    assert network.tier == "finetuned"
    expected = measured(pipeline, pair, chosen, "finetuned", place)
    assert torch.equal(outputs(network), expected)
    assert not torch.equal(outputs(best_before), expected)
    assert network.member.accuracy["finetuned"] == trained["accuracy"]["{}-{}".format(*place)]


def test_another_training_has_other_weights_and_a_race_those_of_who_was_kept(pipeline, pair):
    picked = choose(pair, SMALL.selection)
    starts, racing = fair_share(pair, picked, "race"), racing_in(picked, "race")
    result = pipeline.finetune(pair, starts, racing)
    kept = [place for place in pair.places(starts) if "{}-{}".format(*place) in result["accuracy"]]
    gone = next(place for place in pair.places(starts) if place not in kept)
    training = joint_training(pair, starts, SMALL.finetuning, racing).weights
    network = stored_network(pipeline.store, SMALL, named(pair, kept[0]), "finetuned", training)
    expected = measured(pipeline, pair, starts, "finetuned", kept[0], racing)
    assert torch.equal(outputs(network), expected)
    with pytest.raises(SelectionError, match="no layers of tier finetuned"):
        stored_network(pipeline.store, SMALL, named(pair, gone), "finetuned", training)
    alone = np.arange(len(starts)) == 0
    never = joint_training(pair, alone, SMALL.finetuning).weights
    with pytest.raises(SelectionError, match="run `klas finetune` with a selection that has it"):
        stored_network(pipeline.store, SMALL, named(pair, pair.everywhere[0]), "finetuned", never)


def test_an_anchor_is_the_pretrained_one(pipeline):
    network = stored_network(pipeline.store, SMALL, "digits_convnet")
    with torch.no_grad():
        assert torch.equal(outputs(network), pipeline.context.anchors["digits_convnet"](IMAGES))
    assert network.tier is None


def test_what_is_not_there_is_one_sentence(computed, copied_store, pair):
    store, document = copied_store, computed[1]
    never_trained = ~choose(pair, SMALL.selection).chosen
    name = named(pair, pair.places(never_trained)[0])
    with pytest.raises(SelectionError, match="has no network 'nobody'; a stitch is called SOURCE:"):
        stored_network(store, SMALL, "nobody")
    other = change(SMALL, "tuning", steps=5)
    with pytest.raises(
        SelectionError, match="study small: there are no scores yet; run `klas run`"
    ):
        stored_network(store, other, name)
    for result, tier in ((Tuned, "tuned"), (Fit, "zero_shot")):
        key = key_of(document, SMALL, result(source=PAIR[0], target=PAIR[1]))
        store.delete(store.entry(key.digest))
        with pytest.raises(SelectionError, match=f"holds no layers of tier {tier} of it; run `kl"):
            stored_network(store, SMALL, name, tier)
    with pytest.raises(SelectionError, match="holds no layers of it; run `klas run` again"):
        stored_network(store, SMALL, name)


@pytest.fixture
def copied_store(computed, tmp_path):
    shutil.copytree(computed[0].root, tmp_path / "copied")
    store = Store(tmp_path / "copied")
    yield store
    store.close()
