"""A read-only cache: whatever reads it works, whatever would write says one sentence."""

import numpy as np
import pytest

from klas.errors import StoreError
from klas.results.freeing import free_everything, free_unclaimed
from klas.results.usage import usage
from klas.storage.index import ReadOnlyIndex
from klas.storage.key import Key
from klas.storage.saved_studies import duplicate_study, save_study, saved_studies
from klas.storage.store import Store
from klas.storage.upkeep import verify
from tests.conftest import SMALL
from tests.readonly import read_only

ARRAYS = Key(stage="a", version=1, inputs={}, label="some arrays")
TEXT = Key(stage="b", version=1, inputs={}, label="a text")
ABSENT = Key(stage="c", version=1, inputs={}, label="the absent one")
SENTENCE = "is read-only.*nothing can be added or deleted here.*--cache-dir"


@pytest.fixture
def root(store):
    store.put(ARRAYS, {"x": np.arange(5.0)})
    store.put(TEXT, "text")
    store.set_ref("name", {"a": 1})
    save_study(store, SMALL)
    store.close()
    return store.root


@pytest.fixture
def looked_at(root, monkeypatch):
    with read_only(root, monkeypatch):
        store = Store(root)
        assert store.read_only
        yield store
        store.close()


def test_a_store_that_can_be_written_is_not_read_only(store):
    assert not store.read_only


def test_everything_is_read(looked_at):
    assert looked_at.get(ARRAYS)["x"].tolist() == [0, 1, 2, 3, 4]
    assert looked_at.get(TEXT) == "text"
    assert looked_at.get(ABSENT) is None
    assert looked_at.has(TEXT)
    assert not looked_at.has(ABSENT)
    assert looked_at.compute(TEXT, lambda: pytest.fail("it is there")) == "text"
    assert looked_at.get_ref("name") == {"a": 1}
    assert sorted(e.label for e in looked_at.entries()) == ["a text", "some arrays"]
    assert verify(looked_at).damaged == ()
    assert saved_studies(looked_at) == ["small"]
    assert usage(looked_at).bytes > 0
    assert looked_at.stamp()[0] is not None


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.put(ABSENT, "new"),
        lambda store: store.put(ABSENT, {"x": np.zeros(3)}),
        lambda store: store.set_ref("name", 1),
        lambda store: store.delete(next(store.entries())),
        lambda store: store.clear(),
        lambda store: free_unclaimed(store, at_work=()),
        lambda store: free_everything(store, at_work=()),
        lambda store: duplicate_study(store, SMALL, "copy"),
    ],
)
def test_whatever_would_change_it_is_refused(looked_at, act):
    with pytest.raises(StoreError, match=SENTENCE):
        act(looked_at)


def test_what_is_to_be_computed_is_named_before_any_work(looked_at):
    with pytest.raises(StoreError, match=f"{SENTENCE[:12]} and does not hold the absent one"):
        looked_at.compute(ABSENT, lambda: pytest.fail("it is made"))


def test_a_damaged_result_counts_as_absent_and_stays(root, monkeypatch):
    store = Store(root)
    store.path_of(store.entry(TEXT.digest)).write_bytes(b"damaged")
    store.close()
    with read_only(root, monkeypatch), Store(root) as store:
        assert store.get(TEXT) is None
        assert not store.has(TEXT)


def test_a_planted_row_is_passed_over_as_in_any_store(root, monkeypatch):
    import pickle
    import sqlite3

    with sqlite3.connect(root / "index" / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4, value = ?", [pickle.dumps("planted")])
    database.close()
    assert [entry for _, entry in ReadOnlyIndex(root).rows()] == [None, None]
    with read_only(root, monkeypatch), Store(root) as store:
        assert store.get(TEXT) == "text"  # it says itself what it is


def test_an_older_cache_is_read_and_nothing_is_added(root, monkeypatch):
    for description in (root / "objects").rglob("*.entry"):
        description.unlink()
    with read_only(root, monkeypatch), Store(root) as store:
        assert store.get(TEXT) == "text"
        assert len(verify(store).nameless) == 0


def test_a_folder_without_an_index_is_no_store_to_look_at(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("pathlib.Path.mkdir", _refused)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "empty")


def _refused(*_, **__):
    raise PermissionError(13, "Permission denied")
