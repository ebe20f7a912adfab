"""The index and what is on the disk, in whatever state: found out, and mended."""

import json
import os
import shutil
import sqlite3

import numpy as np
import pytest

from klas.errors import StoreError
from klas.storage.files import BESIDE, SCRATCH
from klas.storage.key import Key
from klas.storage.store import Store
from klas.storage.upkeep import repair, verify

ARRAYS = Key(stage="probes", version=1, inputs={"n": 0}, label="some arrays")
TEXTS = [Key(stage="scores", version=1, inputs={"n": n}, label=f"text {n}") for n in range(3)]
KEYS = [ARRAYS, *TEXTS]
ODD = [
    '{"bytes": "x"}',
    "5",
    "[" * 200_000,
    '{"stage": 1, "label": [], "kind": 2, "sha256": null, "bytes": "x"}',
    '{"stage": "a", "label": "", "kind": "../x", "sha256": "' + "0" * 64 + '", "bytes": 1}',
    '{"stage": "a", "label": "\\ud800", "kind": "json", "sha256": "' + "0" * 64 + '", "bytes": 1}',
    '{"stage": "a", "label": "", "kind": "json", "sha256": "'
    + "0" * 64
    + '", "bytes": '
    + "9" * 99
    + "}",
    b"blob",
    7,
    None,
]


@pytest.fixture
def full(store):
    """A store with arrays and texts."""
    store.put(ARRAYS, {"w": np.arange(5.0)})
    for n, key in enumerate(TEXTS):
        store.put(key, [n])
    return store


def is_clean(store):
    found = verify(store)
    return not (found.damaged or found.unlisted or found.nameless or found.rows)


def has_all(store):
    return store.get(ARRAYS)["w"].tolist() == [0, 1, 2, 3, 4] and [
        store.get(key) for key in TEXTS
    ] == [[0], [1], [2]]


def change(store, sql, *values):
    store.close()
    with sqlite3.connect(store.root / "index" / "cache.db") as database:
        database.execute(sql, values)
    database.close()


def damage(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_what_was_stored_is_clean(full):
    assert is_clean(full)
    assert verify(full).checked == 4
    assert repair(full).listed == 0
    assert is_clean(full)
    assert has_all(full)


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_row_costs_nothing(full, odd):
    change(full, "UPDATE Cache SET value = ? WHERE key = ?", odd, TEXTS[1].digest)
    assert len(verify(full).rows) == 1
    assert {e.digest for e in full.entries()} == {key.digest for key in KEYS}
    assert has_all(full)  # and reading it mended it
    assert is_clean(full)


@pytest.mark.parametrize(
    ("column", "odd"),
    [
        ("key", b"\x80\x02."),
        ("key", "../../etc"),
        ("key", 5),
        ("mode", 4),
        ("raw", 0),
        ("filename", "/etc/passwd"),
        ("value", "CAST(X'FFFE' AS TEXT)"),
    ],
)
def test_a_planted_row_is_told_and_repaired(full, column, odd):
    if column == "value":
        change(full, f"UPDATE Cache SET value = {odd} WHERE key = ?", TEXTS[0].digest)
    else:
        change(full, f"UPDATE Cache SET {column} = ? WHERE key = ?", odd, TEXTS[0].digest)
    found = verify(full)
    assert (len(found.rows), found.damaged, found.nameless) == (1, (), ())
    assert [e.label for e in found.unlisted] == ["text 0"]
    assert repair(full).results == 4
    assert is_clean(full)
    assert has_all(full)


def test_a_wrong_row_does_not_lose_a_result(full):
    record = json.dumps(
        {"stage": "scores", "label": "", "kind": "json", "sha256": "0" * 64, "bytes": 3}
    )
    change(full, "UPDATE Cache SET value = ? WHERE key = ?", record, TEXTS[1].digest)
    assert [e.label for e in verify(full).unlisted] == ["text 1"]
    assert has_all(full)
    assert is_clean(full)


@pytest.mark.parametrize("lost", ["folder", "rows", "garbage", "empty", "cut", "settings"])
def test_the_index_is_made_again_from_the_results(full, lost):
    index = full.root / "index"
    full.close()
    if lost == "folder":
        shutil.rmtree(index)
    elif lost == "rows":
        change(full, "DELETE FROM Cache")
    elif lost == "settings":
        change(full, "UPDATE Settings SET value = 'x' WHERE key LIKE 'disk%'")
        change(full, "INSERT INTO Settings (key, value) VALUES ('disk_odd', 1)")
    else:
        content = (index / "cache.db").read_bytes()
        shutil.rmtree(index)
        index.mkdir()
        (index / "cache.db").write_bytes(
            {"garbage": b"x" * 5000, "empty": b"", "cut": content[: len(content) // 2]}[lost]
        )
    if lost in ("folder", "rows", "empty"):
        found = verify(full)
        assert (len(found.unlisted), found.checked) == (4, 4)
    else:
        with pytest.raises(StoreError, match="klas cache repair"):
            verify(full)
    assert repair(full).results == 4
    assert is_clean(full)
    assert has_all(full)


def test_results_are_found_before_anybody_repairs_the_index(full):
    full.close()
    shutil.rmtree(full.root / "index")
    full.contents.close()
    with Store(full.root) as store:
        assert all(store.has(key) for key in KEYS)
        assert is_clean(store)


def test_all_is_deleted_whatever_the_index_is(full):
    full.close()
    shutil.rmtree(full.root / "index")
    (full.root / "index").mkdir()
    (full.root / "index" / "cache.db").write_bytes(b"x" * 5000)
    assert full.clear() > 0
    assert is_clean(full)
    assert verify(full).checked == 0
    full.put(ARRAYS, {"w": np.arange(5.0)})
    assert full.has(ARRAYS)


@pytest.mark.parametrize("kind", ["safetensors", "json", "entry"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_what_happens_to_any_file_is_told_and_mended(full, kind, how):
    file = next((full.root / "objects").rglob(f"*.{kind}"))
    {"flipped": damage, "cut": lambda f: os.truncate(f, 2), "gone": lambda f: f.unlink()}[how](file)
    found = verify(full)
    if kind == "entry":  # said again, by the index
        assert (found.damaged, found.unlisted) == ((), ())
        assert has_all(full)
    else:
        assert [e.digest for e in found.damaged] == [file.stem]
        assert [e.digest for e in repair(full).deleted] == [file.stem]
        assert sum(full.has(key) for key in KEYS) == 3
    assert is_clean(full)


def test_results_of_an_older_klas_are_read_and_described(full):
    descriptions = list((full.root / "objects").rglob("*.entry"))
    whole = {path: path.read_bytes() for path in descriptions}
    for path in descriptions:
        path.unlink()
    with Store(full.root) as store:
        assert store.get(TEXTS[0]) == [0]
        assert sum(path.exists() for path in descriptions) == 1
        assert is_clean(store)
    assert {path: path.read_bytes() for path in descriptions} == whole


def test_what_nobody_describes_stays_and_is_told(full):
    for path in (full.root / "objects").rglob("*.entry"):
        path.unlink()
    change(full, "DELETE FROM Cache")
    assert len(verify(full).nameless) == 4
    assert len(repair(full).nameless) == 4
    assert full.get(ARRAYS) is None
    full.put(ARRAYS, {"w": np.arange(5.0)})
    assert len(verify(full).nameless) == 3


def test_a_stranger_in_the_folder_is_no_result(full):
    for name in ("x.json", f"{'0' * 64}.exe", f"{'a' * 64}.json"):
        (full.root / "objects" / "00").mkdir(exist_ok=True)
        (full.root / "objects" / "00" / name).write_bytes(b"?")
    assert is_clean(full)


def test_what_killed_processes_left_is_swept(full):
    tmp = full.root / "tmp"
    for name in (f"{SCRATCH}abc", f"{BESIDE}old", f"{BESIDE}fresh", f"{'0' * 64}.rows"):
        (tmp / name).write_bytes(b"half")
    os.utime(tmp / f"{BESIDE}old", (0, 0))
    (tmp / f"{'1' * 64}.safetensors").write_bytes(b"a training that can go on")
    with full.at_work("somebody else"):
        Store(full.root).close()
        assert len(list(tmp.iterdir())) == 5
    Store(full.root).close()
    # An older klas, which does not say that it is at work, may be writing the fresh one.
    assert {p.name for p in tmp.iterdir()} == {f"{BESIDE}fresh", f"{'1' * 64}.safetensors"}
