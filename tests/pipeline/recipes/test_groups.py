"""Groups of the built-in study's candidates: all of them, and no more groups than pay."""

import pytest

from klas.pipeline.context import Context
from klas.pipeline.recipes.groups import tuned_groups, zero_shot_groups
from klas.results.result import Tuned, ZeroShot
from klas.storage.store import Store
from klas.study import DIGITS


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("cache")) as store:
        yield Context(DIGITS, store, device="cpu")


@pytest.mark.parametrize(
    ("kind", "groups_of"), [(ZeroShot, zero_shot_groups), (Tuned, tuned_groups)]
)
def test_groups_are_all_candidates_in_order_and_many_only_where_the_target_is_costly(
    context, kind, groups_of
):
    assert len(context.pairs) == 6
    for source, target in context.pairs:
        groups = groups_of(kind(source=source, target=target), context)
        assert [place for group in groups for place in group] == context.places(source, target)
        # Elsewhere a group would load images and run the source for little else.
        if target == "digits_vit_base":
            assert 3 <= len(groups) <= 8
        else:
            assert len(groups) == 1
