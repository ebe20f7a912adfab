"""Results as values: each kind can be made, found, listed once and sent elsewhere."""

import pickle
from graphlib import TopologicalSorter
from typing import get_args

import pytest

from klas.results.keys import Keys
from klas.results.result import (
    Fit,
    Latency,
    Machine,
    OfAnchor,
    OfLayers,
    OfPair,
    Result,
    Tuned,
    Validation,
    outcomes_of,
)
from klas.study import FitSpec
from tests.results.written_study import DIGESTS, DOCUMENT, ENDS, SOME, STUDY, TAUGHT

KINDS = get_args(Result)
KEYS = Keys.of_document(DOCUMENT, STUDY)


def closure(result):
    """A result and all that it is made from."""
    seen, waiting = set(), [result]
    while waiting:
        if (last := waiting.pop()) not in seen:
            seen.add(last)
            waiting += last.needs
    return seen


def test_the_union_holds_every_kind_that_there_is():
    """A kind that is written but left out of the union would have no key and no recipe."""
    bases = (OfAnchor, OfPair, OfLayers)
    assert {kind for base in bases for kind in base.__subclasses__()} - {*bases} == {*KINDS}
    assert len({made.__name__ for made in KINDS}) == len(KINDS)


def test_every_kind_has_a_recipe_and_no_recipe_is_without_one():
    from klas.pipeline.recipes import registry

    assert registry._RECIPES.keys() == {*KINDS}
    for result in DIGESTS:
        recipe = registry.recipe_of(result)
        assert all(map(callable, (recipe.units, recipe.shares, recipe.cost)))


@pytest.mark.parametrize("result", DIGESTS, ids=lambda r: type(r).__name__)
def test_a_result_is_a_value(result):
    twin = type(result)(**vars(result))
    assert twin is not result
    assert (twin, hash(twin)) == (result, hash(result))
    assert len({result, twin}) == 1
    with pytest.raises(AttributeError):
        result.anchor = "another"
    # Another process or host gets it as it is.
    assert pickle.loads(pickle.dumps(result)) == result


def test_results_of_different_kinds_are_never_equal():
    assert Fit(**ENDS) != Tuned(**ENDS)


@pytest.mark.parametrize("result", DIGESTS, ids=lambda r: type(r).__name__)
def test_needs_are_results_with_keys_and_never_go_in_a_circle(result):
    every = closure(result)
    assert {type(need) for need in every} <= {*KINDS}
    assert all(KEYS.of(need).digest for need in every)
    order = list(TopologicalSorter({r: r.needs for r in every}).static_order())
    assert order[-1] == result
    # What it is made from is about its own anchors.
    assert {name for need in every for name in need.names} <= {*result.names}


def test_a_result_depends_on_what_it_is_made_from():
    """Other fitted layers give other keys to all that is made from them."""
    other = Keys.of_document(DOCUMENT, STUDY.model_copy(update={"fit": FitSpec(samples=50)}))
    for result in DIGESTS:
        # A time is the same whatever the layers' values.
        if Fit(**ENDS) in closure(result) and not isinstance(result, Latency):
            assert other.of(result).digest != KEYS.of(result).digest


def test_only_a_taught_training_needs_the_anchors_accuracies():
    passes = {Validation(anchor=name) for name in SOME.names}
    assert not passes & {*SOME.needs}
    assert passes < {*TAUGHT.needs}
    assert not passes & {*outcomes_of(SOME, "test").needs}


def test_a_machine_is_what_its_json_says():
    machine = Machine(device="a processor", threads=2, torch="2.9.0")
    assert Machine(**machine.to_json()) == machine
