"""Which joint trainings a comparison is made of."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klas.results.keys import Keys
from klas.results.pair import Pair
from klas.results.result import Finetuned
from klas.results.trainings import BUDGETS, budget_steps, joint_training, method_trainings
from klas.study import METRICS, change
from tests.results.written_study import DOCUMENT, SOME, STUDY

PAIR = Pair(document=DOCUMENT, index=0)


@given(steps=st.integers(0, 10**7))
def test_budgets_rise_from_nothing_to_all_the_steps(steps):
    budgets = budget_steps(change(STUDY, "finetuning", steps=steps))
    assert (budgets[0], budgets[-1]) == (0, steps)
    assert budgets == sorted(set(budgets))
    assert len(budgets) <= len(BUDGETS)
    assert set(budgets) == {round(share * steps) for share in BUDGETS}


def test_every_method_is_trained_once_at_every_budget():
    trainings = [t for t in method_trainings(PAIR, STUDY) if t.metric is not None]
    budgets = [0, 10, 40, 160]
    assert [(t.metric, t.steps) for t in trainings] == [(m, n) for n in budgets for m in METRICS]
    for training in trainings:
        settings = training.result.weights.finetuning
        assert settings == STUDY.finetuning.model_copy(update={"steps": training.steps})
        assert training.result.names == PAIR.names
        assert training.result.weights.stitches == tuple(PAIR.places(training.chosen))


def test_methods_train_what_they_choose():
    choices = {t.metric: t.result.weights.stitches for t in method_trainings(PAIR, STUDY)}
    random = choices.pop("random")
    assert choices == {
        None: (),
        "kl": ((2, 1), (2, 2)),
        **dict.fromkeys(("theta", "theta_ce", "cka", "mse", "ce", "dm"), ((1, 1), (1, 2))),
        "snnet": ((1, 1), (2, 2)),
        "race": ((1, 1), (1, 2), (2, 1), (2, 2)),  # up to three of each bucket start
    }
    assert len(random) == 2


def test_only_a_race_races_in_the_buckets_of_the_selection():
    for training in method_trainings(PAIR, STUDY):
        racing = training.result.weights.racing
        assert racing == ((1, 0, 1, 0) if training.metric == "race" else ())


def test_methods_that_choose_the_same_share_a_training():
    trainings = [t.result for t in method_trainings(PAIR, STUDY) if t.metric in ("cka", "dm")]
    keys = Keys.of_document(DOCUMENT, STUDY)
    assert len(trainings) == 8
    assert len({*trainings}) == len({keys.of(t).digest for t in trainings}) == 4


def test_a_method_that_chooses_nothing_is_not_trained():
    document = copy.deepcopy(DOCUMENT)
    for candidate in document["pairs"][0]["candidates"]:
        candidate["snnet"] = False
    methods = {t.metric for t in method_trainings(Pair(document=document, index=0), STUDY)}
    assert methods == {*METRICS, None} - {"snnet"}


def test_the_baseline_has_the_anchors_alone_for_as_many_steps_each():
    alone = [t for t in method_trainings(PAIR, STUDY) if t.metric is None]
    assert [t.steps for t in alone] == budget_steps(STUDY)[1:]  # none for no steps
    for training in alone:
        assert not training.chosen.any()
        weights = training.result.weights
        assert weights.stitches == ()
        assert weights.finetuning == STUDY.finetuning.model_copy(
            update={"steps": 2 * training.steps}
        )


@pytest.mark.parametrize("metric", METRICS)
def test_the_studys_own_metric_changes_nothing_of_a_comparison(metric):
    results = [t.result for t in method_trainings(PAIR, change(STUDY, "selection", metric=metric))]
    assert results == [t.result for t in method_trainings(PAIR, STUDY)]


def test_a_joint_training_is_of_the_chosen_stitches_alone():
    training = joint_training(PAIR, np.array([True, False, True, True]), STUDY.finetuning)
    assert training == Finetuned(source="small", target="own", weights=SOME)
