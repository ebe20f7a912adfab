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
from klas.storage.files import write_whole
from klas.storage.key import Key, canonical_json
from klas.storage.store import Store
from klas.storage.upkeep import verify

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
    actual = store.get(KEY)
    assert set(actual) == {"w", "hits"}
    assert (actual["w"] == arrays["w"]).all()
    assert actual["hits"].dtype == np.uint8
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
    assert [e.digest for e in verify(store).damaged] == [KEY.digest]
    assert store.get(KEY) is None
    store.compute(KEY, lambda: {"w": np.zeros(2)})
    assert verify(store).damaged == ()


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
    assert [e.label for e in store.entries()] == ["x"]  # the result says itself what it is
    with sqlite3.connect(store.root / "index" / "cache.db") as database:
        database.execute("UPDATE Cache SET raw = 0, key = ?", (pickle.dumps(Bomb()),))
    database.close()
    assert list(store.entries()) == []
    assert store.get(KEY) == [1]
    store.clear()
    assert not flag.exists()


def test_a_planted_file_name_is_neither_opened_nor_deleted(store, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("as it was")

    def plant():
        with sqlite3.connect(store.root / "index" / "cache.db") as database:
            database.execute(f"UPDATE Cache SET mode = 3, value = NULL, filename = '{victim}'")
        database.close()

    store.put(KEY, [1])
    for act in (
        lambda: store.get(KEY) == [1] or pytest.fail("it says itself what it is"),
        lambda: store.put(KEY, [1]),
        lambda: store.delete(next(store.entries())) or store.put(KEY, [1]),
        store.clear,
    ):
        plant()
        act()
        assert victim.read_text() == "as it was"


def test_two_processes_compute_a_value_once(store, tmp_path):
    script = textwrap.dedent(
        f"""
        import sys
        from klas.storage.key import Key
        from klas.storage.store import Store
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
    processes = [start(), start()]
    for process in processes:  # whichever holds the lock
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [p.communicate(timeout=60)[0].strip() for p in processes]
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


ROWS = {"cut0": ((6, 4), np.dtype(np.float32)), "labels": ((6,), np.dtype(np.int64))}


def fill(out, rows=2):
    for start in range(0, 6, rows):
        out.append(
            "cut0", np.arange(start * 4, (start + rows) * 4, dtype=np.float32).reshape(-1, 4)
        )
        out.append("labels", np.arange(start, start + rows))


def files(store):
    every = (p for folder in ("objects", "tmp") for p in (store.root / folder).rglob("*.*"))
    return [path for path in every if path.suffix != ".entry"]


@pytest.fixture
def mapped(monkeypatch):
    """Every array file is mapped, as only large ones are otherwise."""
    monkeypatch.setattr("klas.storage.store.MAPPED_BYTES", 0)


def test_rows_written_one_after_another_are_one_result(store):
    with store.writing(KEY, ROWS) as out:
        fill(out)
        assert not store.has(KEY)
    assert (store.get(KEY)["cut0"] == np.arange(24).reshape(6, 4)).all()
    assert (store.get(KEY)["labels"] == np.arange(6)).all()
    assert verify(store).damaged == ()
    (entry,) = store.entries()
    assert entry.bytes == files(store)[0].stat().st_size


def test_a_maker_may_write_rows_itself(store):
    calls = []

    def make():
        calls.append(1)
        with store.writing(KEY, ROWS) as out:
            fill(out)

    for _ in range(2):
        assert (store.compute(KEY, make)["labels"] == np.arange(6)).all()
    assert calls == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_writing_leaves_nothing_and_can_be_done_again(store, error):
    def interrupted():
        with store.writing(KEY, ROWS) as out:
            out.append("labels", np.zeros(6, np.int64))
            raise error

    with pytest.raises(error):
        interrupted()
    assert files(store) == []
    with store.writing(KEY, ROWS) as out:
        fill(out)
    assert store.has(KEY)


def test_a_result_with_missing_rows_is_never_kept(store):
    with pytest.raises(ValueError, match="cut0: not every row"), store.writing(KEY, ROWS) as out:
        out.append("labels", np.zeros(6, np.int64))
    assert files(store) == []
    assert not store.has(KEY)


def test_what_a_killed_process_left_is_removed_but_not_what_is_being_written(store):
    other = Key(stage="s", version=1, inputs={})
    (store.root / "tmp" / f"{'0' * 64}.rows").write_bytes(b"left by a killed process")
    with store.writing(KEY, ROWS) as out:
        with store.writing(other, ROWS) as inner:
            fill(inner)
        fill(out)
    assert store.has(KEY)
    assert store.has(other)
    assert not list((store.root / "tmp").iterdir())


def test_another_process_does_not_remove_what_is_being_written(store):
    script = textwrap.dedent(
        f"""
        import numpy as np
        from klas.storage.key import Key
        from klas.storage.store import Store
        store = Store({str(store.root)!r})
        with store.writing(Key(stage="s", version=1, inputs={{}}), {{"a": ((1,), "u1")}}) as out:
            out.append("a", np.zeros(1, np.uint8))
        """
    )
    with store.writing(KEY, ROWS) as out:
        subprocess.run([sys.executable, "-c", script], check=True)
        fill(out)
    assert store.has(KEY)
    assert len(list(store.entries())) == 2


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(store):
    """The process may write no file beyond 1 MiB, which is how a full disk looks to it."""
    store.put(KEY, {"w": np.ones(50)})
    script = textwrap.dedent(
        f"""
        import resource
        import numpy as np
        from klas.errors import StoreError
        from klas.storage.key import Key
        from klas.storage.store import Store
        store = Store({str(store.root)!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        key = Key(stage="features", version=1, inputs={{}})
        for write in (
            lambda: store.writing(key, {{"cut0": ((2**20,), np.dtype(np.float32))}}).__enter__(),
            lambda: store.put(key, {{"cut0": np.zeros(2**20, np.float32)}}),
        ):
            try:
                write()
            except StoreError as error:
                print(error)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert str(store.root) in line
        assert "File too large" in line
        assert "free some room" in line
    assert not list((store.root / "tmp").iterdir())
    assert [e.digest for e in store.entries()] == [KEY.digest]
    assert (store.get(KEY)["w"] == 1).all()


def test_a_mapped_result_is_read_only_and_outlives_its_deletion(store, mapped):
    store.put(KEY, {"w": np.arange(5.0)})
    actual = store.get(KEY)["w"]
    with pytest.raises(ValueError, match="read-only"):
        actual[0] = 1
    store.clear()
    assert (actual == np.arange(5.0)).all()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone"])
def test_a_damaged_mapped_result_is_dropped(store, mapped, damage):
    store.put(KEY, {"w": np.ones(5000)})
    store.get(KEY)
    path = next((store.root / "objects").rglob("*.safetensors"))
    data = bytearray(path.read_bytes())
    path.unlink()
    data[-1] ^= 1
    if damage != "gone":
        path.write_bytes({"flipped": bytes(data), "cut": bytes(data[:-8]), "empty": b""}[damage])
    assert not store.has(KEY)
    assert store.get(KEY) is None
    assert (store.compute(KEY, lambda: {"w": np.zeros(2)})["w"] == 0).all()


def test_a_planted_header_is_dropped_even_where_its_checksum_fits(store, mapped):
    import hashlib
    import json

    store.put(KEY, {"w": np.ones(4)})
    path = next((store.root / "objects").rglob("*.safetensors"))
    data = path.read_bytes().replace(b"[4]", b"[9]")
    path.write_bytes(data)
    path.with_suffix(".entry").unlink()
    with sqlite3.connect(store.root / "index" / "cache.db") as database:
        (record,) = database.execute("SELECT value FROM Cache").fetchone()
        fitting = json.loads(record) | {"sha256": hashlib.sha256(data).hexdigest()}
        database.execute("UPDATE Cache SET value = ?", (canonical_json(fitting),))
    database.close()
    assert store.get(KEY) is None
    assert not path.exists()


def test_a_large_file_is_hashed_once_a_process(store, mapped, monkeypatch):
    import hashlib

    store.put(KEY, {"w": np.ones(4)})
    other = Store(store.root)
    hashed = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: hashed.append(a) or digest(*a))
    for _ in range(3):
        assert store.has(KEY)  # it has hashed what it wrote
        assert (other.get(KEY)["w"] == 1).all()
    assert len(hashed) == 1
    other.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_stays_flat_when_a_result_doubles(tmp_path):
    """Written in rows and read in chunks, 64 MiB cost a process no more memory than 32 MiB."""
    script = textwrap.dedent(
        f"""
        import sys
        import numpy as np
        from klas.storage.arrays import chunks
        from klas.storage.key import Key
        from klas.storage.store import Store
        samples = int(sys.argv[1])
        store = Store({str(tmp_path)!r} + sys.argv[1])
        def make():
            with store.writing(key, {{"cut0": ((samples, 1024), np.dtype(np.float32))}}) as out:
                for start in range(0, samples, 256):
                    out.append("cut0", np.full((256, 1024), start, np.float32))
        key = Key(stage="features", version=1, inputs={{}})
        rows = store.compute(key, make)["cut0"]
        total = sum(float(part[:, 0].sum()) for part in chunks(rows, 256))
        assert total == sum(256 * start for start in range(0, samples, 256))
        store.close()
        # getrusage would tell the peak of whoever started this process.
        with open("/proc/self/status") as status:
            print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
        """
    )
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", script, str(samples)]))
        for samples in (8192, 16384)
    ]
    assert peaks[1] - peaks[0] < 6_000  # KiB, of 32,768 that the larger one has more
