"""Shares: made apart and joined from files, they are the bytes of a result made at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klas.networks.batch_size import LARGEST_BATCH
from klas.pipeline.context import Context
from klas.pipeline.engines.here import Here
from klas.pipeline.engines.shares import make_share, shares_of, store_shares
from klas.pipeline.recipes.recipe import Recipe, Rows, no_cost, no_units
from klas.results.result import Features, Probes, Tuned, Validation, ZeroShot
from klas.storage.key import Key
from klas.storage.objects import files_of_results
from klas.storage.store import Store
from klas.study import DataSpec
from tests.conftest import SMALL

LONGER = SMALL.model_copy(
    update={"data": SMALL.data.model_copy(update={"train_samples": 1100, "val_samples": 1090})}
)
"""More samples than a share of a sweep has, and a last chunk of CKA that is not whole."""

SPLIT = [
    Validation(anchor="digits_vit_tiny"),
    Features(anchor="digits_vit_tiny"),
    Probes(anchor="digits_vit_tiny"),
    ZeroShot(source="digits_vit_tiny", target="digits_convnet"),
    Tuned(source="digits_vit_tiny", target="digits_convnet"),
]


def files_of(store):
    """Every object of a store, byte by byte."""
    return {
        path.name: path.read_bytes()
        for path in (store.root / "objects").rglob("*")
        if path.is_file()
    }


def ignore(units):
    pass


@pytest.fixture(scope="module")
def made_at_once(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("once")) as store:
        Here().carry_out(SPLIT, Context(LONGER, store, device="cpu"))
        return files_of(store)


def test_what_is_made_in_shares_by_whomever_is_what_is_made_at_once(
    made_at_once, tmp_path, monkeypatch
):
    """In any order: here the last share comes first, each from a context of its own."""
    # So small a pair has a single group otherwise; `made_at_once` may have had it in one.
    monkeypatch.setattr("klas.selection.groups.OVERHEAD", 0.5)
    with Store(tmp_path / "cache") as store:
        Here().carry_out([need for r in SPLIT for need in r.needs], Context(LONGER, store))
        for result in SPLIT:
            owner = Context(LONGER, store, device="cpu")
            shares, key = shares_of(result, owner), owner.keys.of(result)
            if owner.has(result):
                store.delete(store.entry(key.digest))
            made = {}
            for share in reversed(shares):
                file = tmp_path / f"{share.number}.rows"
                made[share] = make_share(share, Context(LONGER, store), file, ignore)
            store_shares(store, key, [made[share] for share in shares])
            assert len(shares) > 1
            assert not list(tmp_path.glob("*.rows"))
        assert files_of(store) == made_at_once


@pytest.mark.parametrize("result", SPLIT, ids=lambda result: type(result).__name__)
def test_the_units_of_a_result_are_those_of_its_shares(result, store, tmp_path):
    from klas.pipeline.recipes.registry import recipe_of

    context, done = Context(LONGER, store, device="cpu"), []
    Here().carry_out(result.needs, context)
    for share in shares_of(result, context):
        make_share(share, context, tmp_path / "rows", done.append)
    assert sum(done) == recipe_of(result).units(result, context)


def test_a_smaller_batch_cuts_a_sweep_at_the_same_samples(store):
    """What memory allows is a matter of the machine; what is joined is not."""
    context = Context(LONGER, store, device="cpu")
    before = shares_of(SPLIT[0], context)
    context.batch.size = LARGEST_BATCH // 8
    assert shares_of(SPLIT[0], context) == before


ARRAYS = st.lists(
    st.fixed_dictionaries(
        {"rows": st.integers(0, 5)},
        optional={"own": st.booleans(), "scalar": st.booleans()},
    ),
    min_size=1,
    max_size=4,
)


def some_arrays(number, drawn):
    """Rows that every share has, and arrays that it alone has."""
    arrays = {"every": np.arange(3 * drawn["rows"], dtype=np.float32).reshape(-1, 3) + number}
    if drawn.get("own"):
        arrays[f"own{number}"] = np.array([number])
    if drawn.get("scalar"):
        arrays[f"scalar{number}"] = np.array(number)
    return arrays


@settings(max_examples=25)
@given(drawn=ARRAYS, rows=st.booleans())
def test_arrays_of_any_shares_are_joined_in_order(tmp_path_factory, drawn, rows):
    parts = [some_arrays(number, each) for number, each in enumerate(drawn)]

    def as_rows(arrays):
        shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        return Rows(shapes=shapes, fill=lambda out: [out(n, a) for n, a in arrays.items()])

    value = as_rows if rows else dict
    makes = [lambda tick, part=part: value(part) for part in parts]
    recipe = Recipe(units=no_units, shares=lambda result, context: makes, cost=no_cost)
    folder = tmp_path_factory.mktemp("join")
    result, key = SPLIT[1], Key(stage="s", version=1, inputs={})
    with (
        pytest.MonkeyPatch.context() as patch,
        Store(folder / "here") as here,
        Store(folder / "files") as there,
    ):
        patch.setattr("klas.pipeline.engines.shares.recipe_of", lambda result: recipe)
        context = Context(SMALL, here, device="cpu")
        Here().carry_out([result], context)
        shares = shares_of(result, context)
        made = [make_share(s, context, folder / f"{s.number}.rows", ignore) for s in shares]
        store_shares(there, key, made)
        got = there.get(key)
        (joined,), (at_once,) = files_of_results(there.root), files_of_results(here.root)
        assert joined.read_bytes() == at_once.read_bytes()
    assert np.array_equal(got["every"], np.concatenate([part["every"] for part in parts]))
    for part in parts:
        for name in part.keys() - {"every"}:
            assert np.array_equal(got[name], part[name])


def test_a_result_of_nothing_has_a_share_all_the_same(store):
    """A pair without candidates, or two samples, must be there like any other result."""
    data = DataSpec(train="klas/digits:train", val="klas/digits:val", val_samples=1, crop=1.0)
    context = Context(SMALL.model_copy(update={"data": data}), store, device="cpu")
    context.places = lambda source, target: []
    for result in SPLIT:
        assert shares_of(result, context)
