"""Accuracies that no scores document has: what was not run is None."""

from dataclasses import replace

import numpy as np
import pytest

from klas.results.accuracies import (
    by_row,
    finetuned_accuracy,
    full_val_accuracy,
    full_validation,
    tier_layers,
)
from klas.results.keys import Keys
from klas.results.pair import Pair
from klas.results.result import Tuned, ZeroShot, finetuned
from klas.study import TIERS, change
from tests.results.written_study import DOCUMENT, ENDS, ONE, SOME, STUDY

PAIR = Pair(document=DOCUMENT, index=0)
KEYS = Keys.of_document(DOCUMENT, STUDY)
CHOSEN = np.array([True, False, True, True])  # the stitches of SOME
NOTHING = np.zeros(4, dtype=bool)
ACCURACY = {"1-1": 0.25, "2-1": 0.5, "2-2": 0.75}


@pytest.mark.parametrize("tier", TIERS)
def test_what_was_not_run_is_none(store, tier):
    assert full_val_accuracy(store, PAIR, CHOSEN, STUDY, tier) is None
    assert full_val_accuracy(store, PAIR, NOTHING, STUDY, tier) is None
    assert finetuned_accuracy(store, PAIR, CHOSEN, STUDY) is None
    assert finetuned_accuracy(store, PAIR, NOTHING, STUDY) is None


def test_a_joint_training_is_read_back_by_candidate(store):
    store.put(KEYS.of(finetuned(SOME)), {"accuracy": ACCURACY, "anchors": {}, "steps": 160})
    accuracy = finetuned_accuracy(store, PAIR, CHOSEN, STUDY)
    assert np.array_equal(accuracy, [0.25, np.nan, 0.5, 0.75], equal_nan=True)
    # Nobody trained these: other stitches, other steps, another teacher.
    assert finetuned_accuracy(store, PAIR, PAIR.snnet, STUDY) is None
    for settings in ({"steps": 161}, {"distillation": True}, {"seed": 1}):
        other = change(STUDY, "finetuning", **settings)
        assert finetuned_accuracy(store, PAIR, CHOSEN, other) is None


@pytest.mark.parametrize("tier", TIERS)
def test_an_accuracy_on_every_sample_is_its_tiers(store, tier):
    measured = {"samples": 5000, "accuracy": ACCURACY}
    store.put(KEYS.of(full_validation(PAIR, CHOSEN, STUDY, tier)), measured)
    assert full_val_accuracy(store, PAIR, CHOSEN, STUDY, tier) == {"tier": tier, **measured}
    for other in {*TIERS} - {tier}:
        assert full_val_accuracy(store, PAIR, CHOSEN, STUDY, other) is None
    assert full_val_accuracy(store, PAIR, PAIR.snnet, STUDY, tier) is None


def test_the_layers_of_a_tier_are_every_candidates_but_for_a_joint_training():
    for chosen in (CHOSEN, NOTHING, ~NOTHING):
        assert tier_layers(PAIR, chosen, STUDY, "zero_shot") == ZeroShot(**ENDS)
        assert tier_layers(PAIR, chosen, STUDY, "tuned") == Tuned(**ENDS)
    assert tier_layers(PAIR, CHOSEN, STUDY, "finetuned") == SOME
    assert tier_layers(PAIR, np.arange(4) == 2, STUDY, "finetuned") == ONE


def test_measuring_on_every_sample_needs_the_tiers_layers():
    for tier in TIERS:
        wanted = full_validation(PAIR, CHOSEN, STUDY, tier)
        layers = tier_layers(PAIR, CHOSEN, STUDY, tier)
        # Tier zero_shot stores no layers of its own: the fitted ones are read beside it.
        assert wanted.needs == (layers, *(layers.needs if tier == "zero_shot" else ()))
        assert wanted.stitches == SOME.stitches
    assert replace(wanted, stitches=ONE.stitches) != wanted


def test_rows_without_an_accuracy_are_not_a_number():
    rows = by_row(PAIR, {})
    assert rows.shape == (4,)
    assert np.isnan(rows).all()
