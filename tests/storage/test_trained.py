"""Trained networks in the cache folder: the unfinished stay, damaged ones go."""

import os

import pytest

from klas.errors import StoreError
from klas.storage.sealed import damaged, delete_all, is_whole, read_seal, seal
from klas.storage.trained import (
    FOLDER,
    LIST,
    stored_trainings,
    trained_bytes,
    training_folder,
)


def put(store, name, *, finished=True, asked=0):
    folder = training_folder(store, name)
    folder.mkdir(parents=True)
    (folder / LIST).write_text("{}")
    os.utime(folder / LIST, (asked, asked))
    (folder / "model.safetensors").write_bytes(b"weights")
    if finished:
        seal(folder)
    return folder


def test_trainings_are_listed_the_last_first_and_measured(store):
    assert (stored_trainings(store), trained_bytes(store)) == ([], 0)
    put(store, "a1", asked=5)
    put(store, "b2", asked=9, finished=False)
    (store.root / "trained" / "c3").mkdir()  # no training was asked for
    assert [(one.name, one.finished) for one in stored_trainings(store)] == [
        ("b2", False),
        ("a1", True),
    ]
    assert trained_bytes(store) > 2 * len(b"weights")


DAMAGE = [
    lambda folder: (folder / "model.safetensors").write_bytes(b"weighty"),
    lambda folder: (folder / "model.safetensors").unlink(),
    lambda folder: (folder / LIST).unlink(),
    lambda folder: (folder / "SHA256SUMS").write_bytes(b""),
    lambda folder: (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../../secret\n"),
    lambda folder: (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {'x' * 5000}\n"),
    lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff\n"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_found_and_an_unfinished_one_is_none(store, damage):
    (store.root / "secret").write_text("")
    put(store, "a1")
    whole = put(store, "b2")
    put(store, "c3", finished=False)
    damage(training_folder(store, "a1"))
    assert damaged(store.root / FOLDER, may_be_unfinished=True) == ["a1"]
    assert is_whole(whole)
    assert set(read_seal(whole)) == {LIST, "model.safetensors"}


def test_all_are_deleted_unless_the_folder_is_read_only(store, monkeypatch):
    put(store, "a1")
    put(store, "b2", finished=False)
    with monkeypatch.context() as patch:

        def refuse(missing=""):
            raise StoreError("is read-only")

        patch.setattr(store, "_writable", refuse)
        with pytest.raises(StoreError, match="read-only"):
            delete_all(store, FOLDER)
    taken = trained_bytes(store)
    assert delete_all(store, FOLDER) == taken > 0
    assert stored_trainings(store) == []
