"""Probes by either trainer, through a study's pipeline."""

import numpy as np
import pytest

from klas.errors import StudyError
from klas.measures.probenet import BATCH, EPOCHS
from klas.pipeline.context import Context
from klas.pipeline.engines.here import Here
from klas.results.result import Features, ProbeAccuracy, Probes, Validation
from klas.study import change, load_study
from tests.conftest import SMALL

NAME = SMALL.anchors[0].name


def made(store, **settings):
    """The probes of one anchor and their accuracies."""
    context = Context(change(SMALL, "probes", **settings), store, device="cpu")
    kinds = (Validation, Features, Probes, ProbeAccuracy)
    Here().carry_out(tuple(kind(anchor=NAME) for kind in kinds), context)
    return [context.read(kind(anchor=NAME)) for kind in kinds[2:]]


def test_probenet_comes_near_the_optimum_and_is_not_taken_for_it(store):
    optimum, best = made(store)
    probes, accuracy = made(store, trainer="probenet")
    assert optimum["converged"].all()
    assert not probes["converged"].any()
    assert len(accuracy) == len(best)
    # A few dozen steps here, so it is behind.
    assert np.mean(best) - 0.15 < np.mean(accuracy) < np.mean(best) + 0.05
    assert np.mean(accuracy) > 0.15  # chance is 0.1
    for part in ("cut1.mean", "cut1.std"):
        assert np.array_equal(probes[part], optimum[part])


def test_probenet_sees_every_image_of_each_epoch_and_fits_a_temperature(store, monkeypatch):
    seen = []
    batches = Context.batches

    def counted(self, images, rows, *viewers, batch=None):
        if batch == BATCH:
            seen.append(len(rows))
        return batches(self, images, rows, *viewers, batch=batch)

    monkeypatch.setattr(Context, "batches", counted)
    probes, accuracy = made(store, trainer="probenet", temperature="fitted")
    samples = SMALL.data.train_samples
    kept = samples - samples // 10  # the rest fits the temperature
    assert seen == [EPOCHS * kept // BATCH * BATCH] * len(accuracy)
    assert (probes["temperature"] != 1).all()


def test_the_study_says_which_trainer(tmp_path):
    study = change(SMALL, "probes", trainer="probenet")
    (tmp_path / "s.toml").write_text(study.to_toml(), encoding="utf-8")
    assert load_study(tmp_path / "s.toml") == study
    assert 'trainer = "lbfgs"' in SMALL.to_toml()


@pytest.mark.parametrize("trainer", ["sgd", ""])
def test_no_other_trainer_is_taken(trainer):
    with pytest.raises(StudyError, match="trainer"):
        change(SMALL, "probes", trainer=trainer)
