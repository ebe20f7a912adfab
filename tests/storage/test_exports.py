"""Exported networks in the cache folder: whole or not there, verified, measured, deleted."""

import hashlib

import pytest

from klas.errors import StoreError
from klas.storage.exports import (
    FOLDER,
    export_bytes,
    export_names,
    stored_export,
    storing_export,
)
from klas.storage.sealed import damaged, delete_all


def put(store, name, content=b"weights"):
    with storing_export(store, name) as folder:
        (folder / "model.onnx").write_bytes(content)


def test_an_export_is_kept_whole_and_a_newer_one_takes_its_place(store):
    assert stored_export(store, "a1") is None
    assert (export_names(store), export_bytes(store)) == ([], 0)
    put(store, "a1", b"old")
    put(store, "a1", b"weights")
    kept = stored_export(store, "a1")
    assert kept.path == store.root / "exports" / "a1" / "model.onnx"
    assert kept.path.read_bytes() == b"weights"
    assert kept.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert export_names(store) == ["a1"]
    assert export_bytes(store) > len(b"weights")


def test_what_fails_on_the_way_leaves_nothing(store):
    def fail():
        with storing_export(store, "a1") as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert stored_export(store, "a1") is None
    assert export_bytes(store) == 0


def test_what_a_killed_process_left_is_measured_and_deleted_but_is_no_export(store):
    left = store.root / "exports" / ".klas-left" / "a1"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"x" * 100)
    assert export_names(store) == damaged(store.root / FOLDER, may_be_unfinished=False) == []
    assert export_bytes(store) == 100
    assert delete_all(store, FOLDER) == 100
    assert export_bytes(store) == 0


DAMAGE = [
    lambda folder: (folder / "model.onnx").write_bytes(b"weighty"),
    lambda folder: (folder / "model.onnx").unlink(),
    lambda folder: (folder / "SHA256SUMS").unlink(),
    lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff"),
    lambda folder: (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../../secret\n"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_found_and_not_served(store, damage):
    (store.root / "secret").write_text("")
    put(store, "a1")
    put(store, "b2")
    damage(store.root / "exports" / "a1")
    assert damaged(store.root / FOLDER, may_be_unfinished=False) == ["a1"]
    served = stored_export(store, "a1")
    assert served is None or not served.is_whole()
    assert stored_export(store, "b2").is_whole()


def test_a_read_only_folder_refuses_in_a_sentence(store, monkeypatch):
    put(store, "a1")

    def refuse(missing=""):
        raise StoreError("is read-only")

    monkeypatch.setattr(store, "_writable", refuse)
    with pytest.raises(StoreError, match="read-only"):
        put(store, "b2")
    with pytest.raises(StoreError, match="read-only"):
        delete_all(store, FOLDER)
