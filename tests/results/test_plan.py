"""The plan of a run: everything that its document reads, in an order in which it can be made."""

from itertools import pairwise

import pytest

from klas.results.plan import results_about, stages_until, steps
from klas.results.result import ProbeAccuracy, ThetaOutput, Validation
from klas.study import STAGES

ANCHORS = ("a", "b", "c")
PAIRS = [("a", "b"), ("a", "c"), ("b", "c")]


def planned(stage, headless=(), pairs=PAIRS):
    return [r for step in steps(stage, ANCHORS, pairs, headless) for r in step.results]


def everything(headless=(), pairs=PAIRS):
    return [result for stage in STAGES for result in planned(stage, headless, pairs)]


def test_a_run_that_ends_early_is_the_beginning_of_the_whole():
    assert stages_until("anchors") == ("anchors",)
    assert stages_until(STAGES[-1]) == STAGES
    for shorter, longer in pairwise(STAGES):
        assert stages_until(longer) == (*stages_until(shorter), longer)


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS[1:2], [*PAIRS, ("b", "a")]])
def test_nothing_is_planned_twice(pairs):
    assert len(set(everything(pairs=pairs))) == len(everything(pairs=pairs))


@pytest.mark.parametrize("headless", [(), ("a",)])
def test_what_a_result_needs_is_planned_before_it(headless):
    before = set()
    for result in everything(headless):
        assert {*result.needs} <= before
        before.add(result)


def test_an_anchor_without_a_head_has_no_outputs_to_compare():
    outputs = [r for r in planned("anchors", ["a"]) if isinstance(r, ThetaOutput)]
    assert [r.names for r in outputs] == [("b", "c")]
    # Everything else is asked of it as of any other.
    assert {*everything()} - {*everything(["a"])} == {
        ThetaOutput(source="a", target="b"),
        ThetaOutput(source="a", target="c"),
    }


def test_every_step_says_what_it_counts():
    for stage in STAGES:
        for step in steps(stage, ANCHORS, PAIRS):
            assert step.name
            assert step.unit
            assert step.results
    names = [step.name for stage in STAGES for step in steps(stage, ANCHORS, PAIRS)]
    assert len(set(names)) == len(names)


def test_an_anchor_of_no_pair_is_looked_at_but_not_stitched():
    results = everything(pairs=PAIRS[:1])
    assert {Validation(anchor="c"), ProbeAccuracy(anchor="c")} <= {*results}
    assert not [r for r in results if len(r.names) == 2 and "c" in r.names]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_done_when_all_that_it_makes_is_there(stage):
    """What is said of an anchor or a pair is together what the stage makes, but for Θ of outputs.

    That compares two anchors in a stage that is counted by anchor.
    """
    about = results_about(stage, ANCHORS, PAIRS)
    by_anchor = stage in ("anchors", "probes")
    assert list(about) == ([(name,) for name in ANCHORS] if by_anchor else PAIRS)
    counted = {result for results in about.values() for result in results}
    assert counted == {r for r in planned(stage) if not isinstance(r, ThetaOutput)}


def test_the_document_reads_nothing_that_is_not_planned(computed):
    """And reads all that is planned but the means to it: fewer would be work for nothing."""
    from klas.pipeline.context import Context
    from klas.pipeline.scores_document import scores_document
    from tests.conftest import SMALL

    class Reading(Context):
        def get(self, result):
            read.add(result)
            return super().get(result)

    read = set()
    store, document = computed
    context = Reading(SMALL, store, device="cpu")
    assert scores_document(context) == document
    every = {
        result
        for stage in STAGES
        for step in steps(stage, list(context.anchors), context.pairs, context.headless)
        for result in step.results
    }
    assert read <= every
    means = {need for result in every for need in result.needs}
    assert every - read <= means
