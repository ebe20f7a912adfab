"""The recipe as it is edited, and the curves of a log."""

import pytest

from dashboard.model.trainings import (
    curves_of,
    differing,
    edited,
    network_bytes,
    train_job,
)
from klas.errors import StudyError
from klas.jobs.submission import job_id
from klas.recipe import TrainingSpec
from klas.results.pair import pairs_of
from klas.study import DIGITS
from tests.conftest import SMALL


def test_edits_change_the_studys_recipe_and_nothing_else():
    assert edited(DIGITS, {}) == DIGITS.training
    recipe = edited(DIGITS, {"steps": 5, "lr": 1e-3, "distillation": "hard", "seed": 3})
    assert differing(DIGITS, recipe) == {
        "steps": 5,
        "lr": 1e-3,
        "distillation": "hard",
        "seed": 3,
    }
    with pytest.raises(StudyError, match="lr"):
        edited(DIGITS, {"lr": 0.0})


def test_mixing_is_switched_whole_and_its_own_amounts_come_back():
    assert not DIGITS.training.mixes
    mixing = edited(DIGITS, {"mixes": True})
    usual = TrainingSpec()
    assert (mixing.mixup, mixing.cutmix) == (usual.mixup, usual.cutmix)
    assert mixing.mixes
    own = DIGITS.model_copy(update={"training": usual.model_copy(update={"mixup": 0.3})})
    assert not edited(own, {"mixes": False}).mixes
    assert edited(own, {"mixes": True}).mixup == 0.3
    never = DIGITS.model_copy(update={"training": usual.model_copy(update={"mixup_prob": 0.0})})
    assert edited(never, {"mixes": True}).mixes


def test_the_order_of_a_list_makes_no_other_training():
    first, second = ("a", "b", 1, 2), ("a", "b", 2, 3)
    jobs = [train_job(s, TrainingSpec()) for s in ([first, second], [second, first, first])]
    assert jobs[0] == jobs[1]
    other = train_job([first, second], TrainingSpec(steps=7))
    assert job_id(SMALL, other) != job_id(SMALL, jobs[0]) == job_id(SMALL, jobs[1])


def test_the_size_is_that_of_the_anchors_and_the_layers(computed):
    document = computed[1]
    pair = pairs_of(document)[0]
    stitches = [(*pair.names, *place) for place in pair.everywhere[:2]]
    anchors = pair.source["params"] + pair.target["params"]
    layers = 0
    for *_, i, j in stitches:
        into, out = pair.source["layouts"][i]["channels"], pair.target["layouts"][j]["channels"]
        layers += into * out + out
    assert network_bytes(document, stitches) == 4 * (anchors + layers)


def row(step, member, **values):
    known = {"loss": "", "lr": "", "accuracy": "", "seconds": "1.5"}
    return {"step": str(step), "member": member} | known | values


def test_a_log_is_read_as_curves():
    rows = [row(k, "ab"[k % 2], loss=str(k), lr="0.5") for k in range(1, 101)]
    rows += [row(k, name, accuracy="0.25") for k in (50, 100) for name in "ab"]
    rows += [row(100, name, accuracy="0.75", seconds="9") for name in "ab"]  # at the end
    curves = curves_of(rows)
    assert curves.step == 100
    assert curves.members[:2] == ["b", "a"]
    assert curves.accuracy == {"a": ([50, 100], [0.25, 0.75]), "b": ([50, 100], [0.25, 0.75])}
    assert curves.seconds == 9
    # The mean of what lies around a step: of a straight line it is the line, but at its ends.
    assert curves.smoothed[2:-2] == pytest.approx(curves.loss[2:-2])
    assert curves.smoothed[0] == pytest.approx(curves.loss[:3].mean())


def test_an_empty_log_has_no_curves():
    curves = curves_of([])
    assert (curves.step, curves.accuracy, curves.seconds) == (0, {}, 0.0)
    assert curves.smoothed.size == 0
