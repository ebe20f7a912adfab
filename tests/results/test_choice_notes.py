import copy

import numpy as np
import pytest

from klas.cli.tables.study import choice_notes
from klas.results.choice_notes import before_resolution_changes, resolution_note
from klas.results.pair import Pair, pairs_of
from klas.results.selections import choose
from klas.study import METRICS
from tests.conftest import SMALL


def in_stages(pair, changes):
    """The pair with a target whose blocks after these cuts halve the map's grid."""
    document = copy.deepcopy(pair.document)
    target = next(a for a in document["anchors"] if a["name"] == pair.names[1])
    side = 2 ** (len(changes) + 1)
    for cut, layout in enumerate(target["layouts"]):
        halved = side // 2 ** sum(change < cut for change in changes)
        layout["grid"] = [halved, halved]
    return Pair(document=document, index=pair.index)


@pytest.fixture
def pair(computed):
    """The one with the most to choose from."""
    return max(pairs_of(computed[1]), key=lambda pair: pair.in_space.sum())


def test_candidates_before_a_change_of_resolution_are_known(pair):
    staged = in_stages(pair, {2, 4})
    assert (before_resolution_changes(staged) == np.isin(pair.stitches[:, 1], [2, 4])).all()
    assert not before_resolution_changes(in_stages(pair, ())).any()


def test_it_is_said_where_gamma_hangs_on_changes_of_resolution(pair):
    selection = choose(pair, SMALL.selection)
    entered = pair.stitches[selection.chosen, 1]
    often = {int(np.bincount(entered).argmax())}
    share = np.mean(np.isin(entered, [*often]))
    inside = pair.in_space & (selection.bucket >= 0)
    usual = np.mean(np.isin(pair.stitches[inside, 1], [*often]))
    staged = in_stages(pair, often)
    note = resolution_note(staged, selection, "kl")
    assert (note is not None) == (share >= 0.5 and share >= 2 * usual)
    every = {int(j) for j in entered}
    for metric in METRICS:
        said = resolution_note(in_stages(pair, every), selection, metric)
        if metric != "kl":
            assert said is None
    alone = np.zeros(len(pair.macs), dtype=bool)
    alone[np.flatnonzero(selection.chosen)[0]] = True
    one = copy.copy(selection)
    object.__setattr__(one, "chosen", alone)
    before = {int(pair.stitches[alone, 1][0])}
    said = resolution_note(in_stages(pair, before), one, "kl")
    assert said is not None
    assert said.startswith(f"{pair.name}: 1 of the 1 stitches that Γ chose enter right before")
    assert said.endswith("compare with √(Ω·CE) (theta_ce), or let a race decide")


def test_flat_targets_and_empty_choices_are_passed_over(pair):
    selection = choose(pair, SMALL.selection)
    assert resolution_note(in_stages(pair, ()), selection, "kl") is None
    none = copy.copy(selection)
    object.__setattr__(none, "chosen", np.zeros(len(pair.macs), dtype=bool))
    assert resolution_note(in_stages(pair, {1, 2, 3}), none, "kl") is None


def test_the_command_says_it_too(pair):
    selection = choose(pair, SMALL.selection)
    for changes in ((), {int(j) for j in pair.stitches[selection.chosen, 1]}):
        staged = in_stages(pair, changes)
        note = resolution_note(staged, choose(staged, SMALL.selection), "kl")
        lines = [str(line) for line in choice_notes([staged], SMALL.selection)]
        assert [line for line in lines if "changes the resolution" in line] == [
            line for line in [note] if line
        ]
