"""A context opens nothing before it is asked, and says which results are its study's."""

import pytest

from klas.errors import AnchorError, DataError, KlasError, StoreError
from klas.pipeline.context import Context
from klas.results.keys import Keys
from klas.results.result import Fit, Probes, Validation
from klas.results.usage import claimed
from klas.storage.key import Key
from klas.study import AnchorSpec
from tests.conftest import SMALL
from tests.results.written_study import DOCUMENT, ENDS, STUDY

NO_MODEL = AnchorSpec(name="wrong", model="digits_vit_tinny")
NO_WEIGHTS = AnchorSpec(name="lost", model="digits_vit_tiny", weights="nowhere/w.safetensors")
NO_CODE = AnchorSpec(name="code", model="no.such.package:network")
NO_DATA = SMALL.data.model_copy(update={"train": "nowhere/train", "val": "nowhere/val"})


def study(anchor=None, **changes):
    """The small study with another first anchor."""
    anchors = SMALL.anchors if anchor is None else (anchor, *SMALL.anchors[1:])
    return SMALL.model_copy(update={"anchors": anchors, **changes})


def context(store, *what, **changes):
    return Context(study(*what, **changes), store, device="cpu")


@pytest.fixture
def closed(monkeypatch):
    """Networks and images must not be touched."""

    def fail(*what, **how):
        raise AssertionError("opened too early")

    monkeypatch.setattr("klas.pipeline.context.load_anchor", fail)
    monkeypatch.setattr("klas.pipeline.splits.open_images", fail)


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("anchor", [None, NO_MODEL, NO_WEIGHTS, NO_CODE], ids=str)
def test_a_context_is_made_of_anything(store, anchor):
    made = context(store, anchor, data=NO_DATA)
    assert made.precision == "float32"
    assert made.study.data.train == "nowhere/train"
    assert list(store.entries()) == []


@pytest.mark.parametrize("open_it", ["anchors", "pairs", "keys", "costs", "headless", "identities"])
def test_the_error_comes_with_what_is_asked_for(store, open_it):
    made = context(store, NO_MODEL)
    with pytest.raises(AnchorError, match="wrong: timm has no model"):
        getattr(made, open_it)
    # It comes again: nothing is half open.
    with pytest.raises(AnchorError, match="wrong: timm has no model"):
        made.open()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_missing_data_are_named_when_a_split_is_asked_for(store, split):
    data = SMALL.data.model_copy(update={split: "nowhere/images"})
    made = context(store, data=data)
    for _ in range(2):
        with pytest.raises(DataError, match="nowhere/images"):
            getattr(made, split)
    with pytest.raises(DataError, match="nowhere/images"):
        made.open()


@pytest.mark.usefixtures("closed")
def test_a_wrong_model_is_refused_before_any_data_are_opened(store):
    with pytest.raises(AnchorError, match="timm has no model 'digits_vit_tinny'"):
        context(store, NO_MODEL, data=NO_DATA).open()
    # Also if it is the last of them.
    made = study(data=NO_DATA)
    turned = made.model_copy(update={"anchors": (*made.anchors[:-1], NO_MODEL)})
    with pytest.raises(AnchorError, match="timm has no model"):
        Context(turned, store, device="cpu").open()


@pytest.mark.usefixtures("closed")
def test_code_is_refused_before_any_data_are_opened(store):
    with pytest.raises(AnchorError, match="code"):
        context(store, NO_CODE, data=NO_DATA).open()


@pytest.mark.usefixtures("closed")
def test_a_class_map_is_read_before_any_data_are_opened(store):
    data = NO_DATA.model_copy(update={"class_map": "nowhere/classes.txt"})
    with pytest.raises(DataError, match=r"nowhere/classes\.txt"):
        context(store, data=data).open()


def test_missing_data_are_named_before_weights_are_loaded(store, monkeypatch):
    def fail(*what, **how):
        raise AssertionError("weights may take minutes to load")

    monkeypatch.setattr("klas.pipeline.context.load_anchor", fail)
    with pytest.raises(DataError, match="nowhere/train"):
        context(store, NO_WEIGHTS, data=NO_DATA).open()


def test_missing_weights_are_named_by_anchor(store):
    with pytest.raises(AnchorError, match="lost"):
        context(store, NO_WEIGHTS).open()


def test_a_device_is_refused_when_the_context_is_made(store):
    with pytest.raises(KlasError, match="'abacus' is not available"):
        Context(SMALL, store, device="abacus")


def test_what_is_open_is_opened_once(store):
    made = context(store)
    assert made.open() == []
    assert made.anchors is made.anchors
    assert made.train is made.train
    assert list(made.anchors) == [anchor.name for anchor in SMALL.anchors]
    assert not any(p.requires_grad for a in made.anchors.values() for p in a.parameters())
    assert made.places(*made.pairs[0]) == [p for p, _, _ in made.candidates(*made.pairs[0])]


# -- whose results they are --------------------------------------------------------------------

TWIN = STUDY.model_copy(update={"seed": 8})


@pytest.fixture
def two(store):
    """Contexts of two studies on one store, with keys but without networks or images."""
    contexts = [Context(made, store, device="cpu") for made in (STUDY, TWIN)]
    for made in contexts:
        made.keys = Keys.of_document(DOCUMENT, made.study)
    return contexts


def noted(made):
    return set(made.store.get_ref(f"used-{made.study.results_key()}") or ())


def key(name):
    return Key(stage="anchors", version=1, inputs={"name": name}, label=name)


def test_what_one_study_makes_is_not_claimed_by_another(two):
    first, second = two
    assert STUDY.results_key() != TWIN.results_key()
    assert first.compute(key("one"), lambda: 1) == 1
    assert second.compute(key("two"), lambda: 2) == 2
    assert (first.used, second.used) == ({key("one").digest}, {key("two").digest})
    assert (noted(first), noted(second)) == (first.used, second.used)


def test_what_both_use_is_made_once_and_claimed_by_both(two):
    first, second = two
    first.compute(key("both"), lambda: 1)
    assert second.compute(key("both"), lambda: pytest.fail("it is there")) == 1
    assert noted(first) == noted(second) == {key("both").digest}


def test_what_is_looked_for_and_not_there_is_claimed_by_nobody(two):
    first, second = two
    assert not first.has(Fit(**ENDS))
    assert first.get(Fit(**ENDS)) is None
    with pytest.raises(StoreError, match="small → own: fit was deleted while it was needed"):
        first.read(Fit(**ENDS))
    assert first.used == set()
    first.record()
    assert noted(first) == set()
    # Nor is what lies there already, before it is asked for.
    fit = first.keys.of(Fit(**ENDS))
    first.store.put(fit, {"values": [1]})
    assert second.used == first.used == set()
    assert second.read(Fit(**ENDS)) == {"values": [1]}
    assert first.has(Fit(**ENDS))
    assert first.used == second.used == {fit.digest}


def test_a_result_is_noted_though_it_was_only_read(two):
    first, _ = two
    result = Validation(anchor="small")
    first.store.put(first.keys.of(result), {"values": [1]})
    assert first.get(result) == {"values": [1]}
    assert noted(first) == set()
    first.record()
    assert noted(first) == {first.keys.of(result).digest}


def test_notes_are_added_to_and_never_taken_back(two):
    first, second = two
    for made in (first, Context(STUDY, first.store, device="cpu"), second):
        made.compute(key(f"{id(made)}"), lambda: 1)
    assert len(noted(first)) == 2
    assert len(noted(second)) == 1
    before = first.store.ref_path(f"used-{STUDY.results_key()}").stat().st_mtime_ns
    first.record()  # nothing new, so nothing is written
    assert first.store.ref_path(f"used-{STUDY.results_key()}").stat().st_mtime_ns == before


def test_what_could_not_be_made_is_noted_and_counts_for_nothing(two):
    # Noted first: so at no moment is there a result that belongs to nobody.
    first, _ = two

    def fail():
        assert noted(first) == {key("one").digest}
        raise AnchorError("no")

    with pytest.raises(AnchorError):
        first.compute(key("one"), fail)
    assert not first.store.has(key("one"))
    assert claimed(first.store, STUDY) == []


def test_a_studys_settings_decide_where_its_results_are(two):
    first, second = two
    same = [Validation(anchor="small"), Probes(anchor="own"), Fit(**ENDS)]
    assert all(first.keys.of(result) == second.keys.of(result) for result in same)
    made = first.compute(first.keys.of(same[0]), lambda: {"values": [1]})
    assert second.get(same[0]) == made
