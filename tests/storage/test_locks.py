import os
import subprocess
import sys

from klas.storage.locks import can_lock, is_locked, try_lock
from klas.storage.store import Store

HOLDER = """
import sys, time
from pathlib import Path
from klas.storage.locks import try_lock
file = Path(sys.argv[1]).open("a")
print(try_lock(file), flush=True)
time.sleep(60)
"""


def test_a_lock_is_held_until_its_process_ends(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)  # there is no file
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "True\n"
        assert is_locked(path)
        with path.open("a") as file:
            assert not try_lock(file)
        holder.kill()
    assert not is_locked(path)


def test_those_who_look_do_not_take_each_other_for_the_holder(tmp_path):
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open() as other:
        assert try_lock(one, shared=True)
        assert try_lock(other, shared=True)
        assert not is_locked(tmp_path / "lock")


def test_nothing_is_swept_up_where_there_are_no_locks(store, monkeypatch):
    lefts = [store.root / "tmp" / name for name in ("new-x", ".klas-x", f"{'0' * 64}.entry")]
    for left in lefts:
        left.write_bytes(b"another process may be writing it")
        os.utime(left, (0, 0))
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    assert not can_lock()
    Store(store.root).close()
    assert all(left.exists() for left in lefts)
    monkeypatch.undo()
    assert can_lock()
    Store(store.root).close()
    assert not any(left.exists() for left in lefts)
