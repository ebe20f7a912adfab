from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch

from klas.measures.race import Race
from klas.measures.training import finetune
from klas.networks.family import Family
from klas.networks.stitch import StitchLayer
from klas.tasks.classification import Classification
from tests.measures.test_training import anchors, batches_from

PLACES = [(1, 1), (1, 2), (2, 2), (2, 3), (3, 4)]
BUCKETS = [0, 0, 0, 1, 1]
MACS = [5, 6, 7, 8, 9]
STEPS = 8  # rungs after 2 and 4


def family():
    source, target = (deepcopy(anchor) for anchor in anchors())
    torch.manual_seed(0)
    states = {}
    for i, j in PLACES:
        layer = StitchLayer(source.info.layouts[i], target.info.layouts[j])
        torch.nn.init.normal_(layer.weight, std=0.1)
        states[i, j] = layer.state_dict()
    return Family(source, target, states)


def race(measure, steps=STEPS):
    return Race(PLACES, buckets=BUCKETS, macs=MACS, steps=steps, measure=measure)


def train(trained, contest, checkpoint, steps=STEPS, tick=lambda n: None):
    finetune(
        trained,
        batches_from,
        objective=Classification(),
        steps=steps,
        lr=1e-3,
        seed=3,
        checkpoint=checkpoint,
        tick=tick,
        race=contest,
    )


def by_depth(seen):
    """Deeper stitches are better; notes whom it was asked about."""

    def measure(trained, step):
        seen.append((step, list(trained.places)))
        return {(i, j): (i + j) / 10 for i, j in trained.places}

    return measure


def test_the_worst_drop_out_at_every_rung(tmp_path):
    seen = []
    contest = race(by_depth(seen))
    train(family(), contest, tmp_path / "c")
    assert seen == [(2, PLACES), (4, [(1, 2), (2, 2), (2, 3), (3, 4)])]
    assert contest.places(1) == PLACES
    assert contest.places(2) == contest.places(3) == [(1, 2), (2, 2), (2, 3), (3, 4)]
    assert contest.places(STEPS) == [(2, 2), (3, 4)]
    arrays = contest.to_arrays()
    assert arrays["race/alive"].sum(axis=1).tolist() == [5, 4, 2]
    assert np.isnan(arrays["race/accuracy"]).sum(axis=1).tolist() == [0, 1]
    assert arrays["race/accuracy"][0].tolist() == [(i + j) / 10 for i, j in PLACES]


def test_only_who_is_left_is_trained(tmp_path, monkeypatch):
    trained, contest = family(), race(by_depth([]))
    run = []
    really = Family.use
    monkeypatch.setattr(Family, "use", lambda self, m: run.append(m) or really(self, m))
    train(trained, contest, tmp_path / "c", steps=STEPS)
    assert len(run) == STEPS
    allowed = {"source", "target"}
    for step, member in enumerate(run):
        assert member in allowed | set(contest.places(step))


def test_a_rung_changes_nothing_in_what_is_trained(tmp_path):
    def spoil(trained, step):
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.zero_()
        return dict.fromkeys(trained.places, 0.5)

    kind, harmless = family(), family()
    train(kind, race(lambda f, step: dict.fromkeys(f.places, 0.5)), tmp_path / "a")
    train(harmless, race(spoil), tmp_path / "b")
    states = kind.state_dict(), harmless.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_race_that_was_killed_goes_on_to_the_same_end(tmp_path, monkeypatch, stop):
    monkeypatch.setattr("klas.measures.training.CHECKPOINT_SECONDS", -1.0)  # at every step
    whole, contest = family(), race(by_depth([]))
    train(whole, contest, tmp_path / "whole")

    done = 0

    def tick(steps):
        nonlocal done
        done += steps
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(family(), race(by_depth([])), tmp_path / "c", tick=tick)
    seen = []
    again, resumed = family(), race(by_depth(seen))
    train(again, resumed, tmp_path / "c")
    assert {step for step, _ in seen} == {step for step in (2, 4) if step >= stop}
    assert (resumed.alive == contest.alive).all()
    states = whole.state_dict(), again.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_without_steps_the_fitted_stitches_are_measured(tmp_path):
    seen = []
    contest = race(by_depth(seen), steps=0)
    train(family(), contest, tmp_path / "c", steps=0)
    assert [step for step, _ in seen] == [0, 0]
    assert contest.places(0) == [(2, 2), (3, 4)]


def test_a_member_without_an_accuracy_drops_out_first(tmp_path):
    contest = race(lambda trained, step: {p: 0.1 for p in trained.places if p != (2, 2)})
    train(family(), contest, tmp_path / "c")
    assert (2, 2) not in contest.places(2)
    assert all(more >= fewer for more, fewer in pairwise(contest.alive.sum(dim=1).tolist()))
