import os
import pickle
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klas.errors import StoreError
from klas.store import Key, Store, canonical_json, write_whole

KEY = Key(stage="probes", version=1, inputs={"a": 1}, label="x")
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(values)
def test_canonical_json_reads_back_to_the_same_value(value):
    import json

    assert json.loads(canonical_json(value)) == value


def test_arrays_and_json_come_back_as_they_went_in(store):
    arrays = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "hits": np.array([1, 255], np.uint8),
    }
    store.put(KEY, arrays)
    found = store.get(KEY)
    assert set(found) == {"w", "hits"}
    assert (found["w"] == arrays["w"]).all()
    assert found["hits"].dtype == np.uint8
    other = Key(stage="scores", version=1, inputs={})
    store.put(other, {"theta": [[0.1, None]]})
    assert store.get(other) == {"theta": [[0.1, None]]}


def test_the_key_is_stage_version_and_inputs_but_not_the_label():
    same = Key(stage="probes", version=1, inputs={"a": 1}, label="other")
    assert same.digest == KEY.digest
    for change in ({"stage": "x"}, {"version": 2}, {"inputs": {"a": 2}}):
        assert Key(**(vars(KEY) | change)).digest != KEY.digest


def test_compute_makes_a_value_once(store):
    calls = []
    for _ in range(3):
        assert store.compute(KEY, lambda: calls.append(1) or {"v": len(calls)}) == {"v": 1}


def test_a_maker_that_fails_leaves_nothing(store):
    with pytest.raises(ZeroDivisionError):
        store.compute(KEY, lambda: 1 / 0)
    assert store.get(KEY) is None
    assert store.compute(KEY, lambda: 5) == 5


def test_a_damaged_file_is_found_dropped_and_made_again(store):
    store.put(KEY, {"w": np.ones(50)})
    path = next((store.root / "objects").rglob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert [e.digest for e in store.verify()] == [KEY.digest]
    assert store.get(KEY) is None
    store.compute(KEY, lambda: {"w": np.zeros(2)})
    assert store.verify() == []


def test_a_lost_file_counts_as_absent(store):
    store.put(KEY, [1])
    next((store.root / "objects").rglob("*.json")).unlink()
    assert store.get(KEY) is None


def test_clear_frees_one_stage_or_everything(store):
    other = Key(stage="scores", version=1, inputs={})
    store.put(KEY, [1])
    store.put(other, [2])
    store.set_ref("scores-x", {"v": 1})
    assert store.clear("probes") == 3
    assert store.get(KEY) is None
    assert store.get(other) == [2]
    store.clear()
    assert list(store.entries()) == []
    assert store.get_ref("scores-x") is None
    assert not list((store.root / "objects").rglob("*.*"))


def test_nothing_is_evicted_however_much_there_is(store):
    for k in range(300):
        store.put(Key(stage="s", version=1, inputs={"k": k}), ["x" * 10_000])
    assert sum(1 for _ in store.entries()) == 300


def test_a_planted_pickle_is_never_run(store, tmp_path):
    """CVE-2025-69872: diskcache unpickles what the database's mode column calls a pickle."""
    store.put(KEY, [1])
    flag = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(flag),))

    with sqlite3.connect(store.root / "index" / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4, value = ?", (pickle.dumps(Bomb()),))
    database.close()
    with pytest.raises(StoreError, match="never writes"):
        store.get(KEY)
    with sqlite3.connect(store.root / "index" / "cache.db") as database:
        database.execute("UPDATE Cache SET raw = 0, key = ?", (pickle.dumps(Bomb()),))
    database.close()
    with pytest.raises(StoreError, match="never writes"):
        list(store.entries())
    assert not flag.exists()


def test_a_planted_file_name_is_not_opened(store):
    store.put(KEY, [1])
    with sqlite3.connect(store.root / "index" / "cache.db") as database:
        database.execute(
            "UPDATE Cache SET mode = 3, value = NULL, filename = '../../../etc/passwd'"
        )
    database.close()
    with pytest.raises(StoreError, match="never writes"):
        store.get(KEY)


def test_two_processes_compute_a_value_once(store, tmp_path):
    script = textwrap.dedent(
        f"""
        import sys
        from klas.store import Key, Store
        store = Store({str(store.root)!r})
        def make():
            open({str(tmp_path / "calls")!r}, "a").write("x")
            sys.stdin.readline()  # hold the lock until told to go on
            return [1]
        print(store.compute(Key(stage="s", version=1, inputs={{}}), make))
        """
    )
    start = lambda: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    first, second = start(), start()
    outputs = [p.communicate("go\n", timeout=60)[0].strip() for p in (first, second)]
    assert outputs == ["[1]", "[1]"]
    assert (tmp_path / "calls").read_text() == "x"


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--cache-dir"):
        Store(tmp_path / "file" / "cache")


def test_files_have_the_modes_of_any_other_file(tmp_path):
    write_whole(tmp_path / "ours", b"x")
    (tmp_path / "theirs").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_a_device_stays_a_device_and_a_link_a_link(tmp_path):
    write_whole(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_whole(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]
