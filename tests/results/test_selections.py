import copy
from dataclasses import replace

import pytest

from klas.cli.tables.study import choice_notes
from klas.errors import SelectionError
from klas.results.formats import dumps, parse
from klas.results.pair import pairs_of
from klas.results.selections import choose, why_nothing
from klas.results.stitch_list import stitch_list
from klas.study import METRICS, SETS, SelectionSpec
from tests.conftest import SMALL, method_choice


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
    document = copy.deepcopy(computed[1])
    for candidate in document["pairs"][0]["candidates"]:
        candidate["scores"]["kl"] = None
    with pytest.raises(SelectionError, match="kl scores are not computed"):
        choose(pairs_of(document)[0], SMALL.selection)


def test_a_method_is_compared_by_as_many_per_bucket_as_klas(computed):
    spec = SMALL.selection.model_copy(update={"tau": 0.4, "metric": "mse"})
    for pair in pairs_of(computed[1]):
        ours = choose(pair, spec.model_copy(update={"metric": "kl"}))
        taken = [(ours.chosen & (ours.bucket == b)).sum() for b in range(spec.buckets)]
        for metric in METRICS:
            chosen = method_choice(pair, spec, metric)
            if metric == "snnet":
                assert (chosen == pair.snnet).all()
            if metric in SETS:
                continue
            assert [(chosen & (ours.bucket == b)).sum() for b in range(spec.buckets)] == taken
            assert not chosen[ours.bucket < 0].any()
            score = pair.scores(metric)
            for b in range(spec.buckets):  # no better one is left
                here = ours.bucket == b
                if chosen[here].any() and not chosen[here].all():
                    assert score[here & chosen].max() <= score[here & ~chosen].min()
        assert (method_choice(pair, spec, "kl") == ours.chosen).all()


def test_a_method_without_scores_is_not_compared(computed):
    document = copy.deepcopy(computed[1])
    for candidate in document["pairs"][0]["candidates"]:
        candidate["scores"]["cka"] = None
    with pytest.raises(SelectionError, match="cka scores are not computed"):
        method_choice(pairs_of(document)[0], SMALL.selection, "cka")


def edited(pair, change):
    """The pair in a changed copy of its document."""
    document = copy.deepcopy(pair.document)
    changed = replace(pair, document=document)
    change(changed)
    return changed


def all_alike(pair):
    for anchor in pair.document["anchors"]:
        anchor["macs"] = 1000


def all_infinite(pair):
    for candidate in pair.raw["candidates"]:
        candidate["scores"]["kl"] = "inf"


def none_between(pair):
    for candidate in pair.raw["candidates"]:
        candidate["macs"] = 10**12


def none_in_space(pair):
    for candidate in pair.raw["candidates"]:
        candidate["in_space"] = False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (all_alike, "its anchors cost the same, so no stitch costs between them; full = true"),
        (none_between, "no stitch costs between them; full = true"),
        (all_infinite, "has an infinite score"),
        (none_in_space, "there is no stitch in the space"),
    ],
)
def test_a_pair_from_which_nothing_is_chosen_says_why(computed, change, reason):
    before = pairs_of(computed[1])[0]
    assert why_nothing(before, SMALL.selection) is None
    pair = edited(before, change)
    assert not choose(pair, SMALL.selection).chosen.any()
    assert why_nothing(pair, SMALL.selection).startswith(f"{pair.name}: ")
    assert reason in why_nothing(pair, SMALL.selection)
    made = stitch_list(pair.document, SMALL.selection, pairs=[pair])
    assert made["selection"]["empty"] == [why_nothing(pair, SMALL.selection)]
    lines = [str(line) for line in choice_notes([pair], SMALL.selection)]
    assert lines[0] == f"nothing is chosen from {why_nothing(pair, SMALL.selection)}"
    parse(dumps(made), "list", "klas-stitches")
    assert "empty" not in stitch_list(before.document, SMALL.selection)["selection"]


@pytest.mark.parametrize("change", [none_between, none_in_space])
def test_nothing_starts_in_a_race_without_candidates(computed, change):
    spec = SMALL.selection.model_copy(update={"metric": "race"})
    pair = edited(pairs_of(computed[1])[0], change)
    assert not choose(pair, spec).chosen.any()
    made = stitch_list(pair.document, spec, pairs=[pair])  # there is no race to wait for
    assert made["stitches"] == []
    assert made["selection"]["empty"] == [why_nothing(pair, spec)]


def test_a_race_starts_from_the_scores_that_are_known(computed):
    spec = SMALL.selection.model_copy(update={"metric": "race"})
    pair = edited(pairs_of(computed[1])[0], all_infinite)  # by Γ alone
    started = choose(pair, spec)
    for bucket in {*started.bucket[pair.in_space & (started.bucket >= 0)].tolist()}:
        assert started.chosen[started.bucket == bucket].any()
    assert not [line for line in choice_notes([pair], spec) if "infinite" in str(line)]


def test_before_the_scores_a_race_says_what_to_run(computed):
    def unscored(pair):
        for candidate in pair.raw["candidates"]:
            candidate["scores"] = dict.fromkeys(candidate["scores"])

    pair = edited(pairs_of(computed[1])[0], unscored)
    with pytest.raises(SelectionError, match="scores are not computed; run `klas run`"):
        choose(pair, SMALL.selection.model_copy(update={"metric": "race"}))


def test_full_takes_what_identical_anchors_cost(computed):
    pair = edited(pairs_of(computed[1])[0], all_alike)
    full = SMALL.selection.model_copy(update={"full": True})
    assert why_nothing(pair, full) is None
