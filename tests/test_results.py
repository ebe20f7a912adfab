import numpy as np
import pytest

from klas.errors import SelectionError
from klas.results import above_anchors, choose, method_areas, method_envelope, pairs_of
from klas.study import SelectionSpec
from tests.conftest import SMALL


def test_a_choice_never_leaves_the_space_nor_the_range(computed):
    for pair in pairs_of(computed[1]):
        for tau in (0.0, 0.5, 1e6):
            picked = choose(pair, SelectionSpec(tau=tau, buckets=5))
            cheap, costly = pair.cheap_and_costly
            macs = pair.macs[picked.chosen]
            assert (pair.in_space | ~picked.chosen).all()
            assert ((macs >= cheap["macs"]) & (macs <= costly["macs"])).all()
        inside = (pair.macs >= cheap["macs"]) & (pair.macs <= costly["macs"])
        assert (picked.chosen == inside & pair.in_space).all()  # a boundless τ takes all


def test_full_widens_the_range_to_every_candidate(computed):
    pair = pairs_of(computed[1])[0]
    picked = choose(pair, SelectionSpec(tau=1e6, buckets=5, full=True))
    assert (picked.chosen == pair.in_space).all()


def test_snnet_is_taken_as_it_is(computed):
    pair = pairs_of(computed[1])[1]
    assert (choose(pair, SelectionSpec(metric="snnet")).chosen == pair.snnet).all()


def test_scores_that_are_missing_are_named(computed):
    import copy

    document = copy.deepcopy(computed[1])
    for candidate in document["pairs"][0]["candidates"]:
        candidate["scores"]["kl"] = None
    with pytest.raises(SelectionError, match="kl scores are not computed"):
        choose(pairs_of(document)[0], SMALL.selection)


def test_above_the_anchors_means_strictly_above_every_cheaper_one(computed):
    pair = pairs_of(computed[1])[0]
    cheap, costly = pair.cheap_and_costly
    chosen = np.ones(len(pair.macs), dtype=bool)
    level = np.full(len(pair.macs), cheap["accuracy"])
    assert not above_anchors(pair, chosen, level).any()
    between = pair.macs < costly["macs"]
    assert (above_anchors(pair, chosen, level + 1e-6) == between).all()
    assert not above_anchors(pair, chosen, np.full(len(level), np.nan)).any()


def test_envelope_and_areas_agree(computed):
    pair = pairs_of(computed[1])[1]
    picked = choose(pair, SMALL.selection).chosen
    accuracy = pair.accuracy("tuned")
    curve = method_envelope(pair, picked, accuracy)
    assert curve.accuracies[-1] >= pair.target["accuracy"]
    found = method_areas(pair, picked, accuracy)
    assert found.mean_top1 == pytest.approx(accuracy[picked].mean())
