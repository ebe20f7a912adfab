import subprocess
import sys

from klas.storage.locks import is_locked, try_lock

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
