"""Accuracies and scores of every replicate, against a validation set that is drawn by hand."""

import numpy as np
import pytest

from klas.errors import SelectionError
from klas.results.pair import pairs_of
from klas.results.resampling import REPLICATES, SEED, ResampledStudy
from klas.results.result import Validation
from klas.selection.bootstrap import draws
from tests.conftest import SMALL
from tests.stored import key_of, outcomes_key

SAMPLES = SMALL.data.val_samples
LOOKED_AT = (0, 1, 500, REPLICATES)  # 0 is the samples as they are


@pytest.fixture(scope="module")
def resampled(computed):
    store, document = computed
    return ResampledStudy(document, SMALL, store)


def drawn_blocks(replicate):
    """The blocks of a replicate, each as often as it was drawn."""
    if replicate == 0:
        return list(range(100))
    times = draws(100, REPLICATES, SEED)[replicate - 1]
    return [block for block in range(100) for _ in range(times[block])]


def drawn_samples(replicate):
    return [3 * block + k for block in drawn_blocks(replicate) for k in range(3)]


def test_accuracies_are_those_of_the_drawn_samples(computed, resampled):
    store, document = computed
    for pair in pairs_of(document)[:2]:
        for tier in ("zero_shot", "tuned"):
            actual = resampled.accuracy(pair, tier)
            assert actual.shape == (REPLICATES + 1, len(pair.macs))
            assert actual[0].tolist() == pair.accuracy(tier).tolist()
            stored = store.get(outcomes_key(pair, SMALL, tier))
            for row, (i, j) in enumerate(pair.stitches):
                hits = np.unpackbits(stored[f"{i}-{j}.hits"])[:SAMPLES]
                for replicate in LOOKED_AT:
                    wanted = np.mean([hits[k] for k in drawn_samples(replicate)])
                    assert actual[replicate, row] == pytest.approx(wanted, abs=1e-12)


def test_anchors_are_drawn_with_the_same_samples(computed, resampled):
    store, document = computed
    for anchor in document["anchors"]:
        stored = store.get(key_of(document, SMALL, Validation(anchor=anchor["name"])))
        hits = stored["logits"].argmax(1) == stored["labels"]
        actual = resampled.anchor_accuracy(anchor["name"], "val")
        assert actual[0] == anchor["accuracy"]
        for replicate in LOOKED_AT:
            wanted = np.mean(hits[drawn_samples(replicate)])
            assert actual[replicate] == pytest.approx(wanted, abs=1e-12)


def test_scores_are_quotients_of_the_drawn_blocks_sums(computed, resampled):
    _, document = computed
    metrics = ["kl", "theta", "theta_ce", "cka", "mse", "ce", "dm", "random"]
    for pair in pairs_of(document)[:2]:
        actual = dict(zip(metrics, resampled.scores(pair, metrics)))
        for metric in metrics:
            assert actual[metric].shape == (REPLICATES + 1, len(pair.macs))
            assert actual[metric][0] == pytest.approx(pair.scores(metric), rel=1e-12)
        every = pair.everywhere
        sums = resampled.sums(pair)
        for replicate in LOOKED_AT:
            blocks = drawn_blocks(replicate)

            def total(values, blocks=blocks):
                return sum(values[block] for block in blocks)

            for row, (i, j) in enumerate(every):
                omega = total(sums.kl[:, i, j]) / SAMPLES
                norm = np.sqrt(total(sums.source_hsic[:, i]) * total(sums.target_hsic[:, j]))
                cross_entropy = total(sums.entropy[:, i]) / SAMPLES + omega
                wanted = {
                    "kl": omega / (total(sums.target_kl[:, j, j + 1]) / SAMPLES),
                    "theta": omega,
                    "theta_ce": np.sqrt(omega * cross_entropy),
                    "cka": 1 - total(sums.hsic[:, i, j]) / norm,
                    "mse": total(sums.squares[:, i, j]) / SAMPLES,
                    "ce": cross_entropy,
                    "dm": total(sums.residual[:, row]) / total(sums.spread[:, row]),
                    "random": pair.scores("random")[row],
                }
                for metric, value in wanted.items():
                    assert actual[metric][replicate, row] == pytest.approx(value, rel=1e-9)


def test_all_pairs_see_the_same_draws(resampled):
    assert (resampled.val.weights[0] == 1).all()
    assert (resampled.val.weights[1:] == draws(100, REPLICATES, SEED)).all()
    assert resampled.val is resampled.val


def test_what_is_missing_is_named_with_the_command_that_makes_it(computed, store):
    _, document = computed
    nothing = ResampledStudy(document, SMALL, store)
    pair = pairs_of(document)[0]
    with pytest.raises(SelectionError, match="scores are not computed; run `klas run`"):
        nothing.scores(pair, ["kl"])
    for tier in ("zero_shot", "tuned"):
        with pytest.raises(SelectionError, match=f"run `klas run --until {tier}`"):
            nothing.accuracy(pair, tier)
    assert nothing.trained_accuracy(pair, pair.in_space, 12) is None
    assert np.isnan(nothing.anchor_accuracy(pair.names[0], "val")).all()
    assert np.isnan(nothing.anchor_accuracy(pair.names[0], "test")).all()


def test_trained_networks_are_judged_by_what_no_choice_saw(computed, store):
    _, document = computed
    assert ResampledStudy(document, SMALL, store).trained_on == "test"
    without = document | {"data": document["data"] | {"test": None}}
    assert ResampledStudy(without, SMALL, store).trained_on == "val"
