"""Who may write in a store while others write, compute or clear."""

import subprocess
import sys
import threading

import pytest

from klas.errors import StoreError
from klas.results.freeing import free_everything, free_stage, free_study
from klas.storage import gate
from klas.storage.key import Key
from klas.storage.store import Store
from klas.study import DIGITS

KEY = Key(stage="probes", version=1, inputs={}, label="x")
HOLDER = """
import sys
from klas.storage.store import Store
store = Store(sys.argv[1])
with store.at_work("klas run on study mine", sys.argv[2]):
    print("at work", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def run(store):
    """A command that computes a study in another process, until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.root), DIGITS.results_key()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


@pytest.mark.parametrize(
    "free",
    [
        lambda store: free_everything(store, at_work=()),
        lambda store: free_stage(store, "probes", at_work=()),
        lambda store: free_study(store, DIGITS, at_work=()),
        lambda store: store.clear(),
    ],
)
def test_nothing_is_deleted_under_a_running_command_and_it_is_named(store, run, free):
    store.put(KEY, [1])  # others may write
    with pytest.raises(StoreError, match=f"klas run on study mine.*process {run.pid}.*wait"):
        free(store)
    assert store.get(KEY) == [1]
    run.kill()  # the lock dies with it
    run.wait()
    free(store)
    store.put(KEY, [2])


def test_another_study_is_freed_meanwhile(store, run):
    other = DIGITS.model_copy(update={"name": "other", "seed": 9})
    assert free_study(store, other, at_work=()) == 0


def test_clearing_waits_for_a_write_in_hand(store):
    entered, wrote = threading.Event(), []

    def write():
        with store.contents.gate.writing():
            entered.set()
            wrote.append("begun")
            clearing.wait()
            wrote.append("done")

    clearing, writer = threading.Event(), threading.Thread(target=write)
    writer.start()
    entered.wait()
    threading.Timer(0.05, clearing.set).start()
    with store.alone():
        assert wrote == ["begun", "done"]
    writer.join()


def test_a_write_waits_until_the_clearing_is_over(store):
    writer = threading.Thread(target=store.put, args=(KEY, [1]))
    with store.alone():
        writer.start()
        writer.join(0.1)
        assert writer.is_alive()
        assert list(store.entries()) == []
    writer.join()
    assert store.get(KEY) == [1]


def test_whoever_gives_no_name_is_waited_for_only_so_long(store, monkeypatch):
    monkeypatch.setattr(gate, "PATIENCE", 0.1)
    with (
        store.contents.gate.writing(),
        pytest.raises(StoreError, match="somebody is at work"),
        store.alone(),
    ):
        pytest.fail("it is not alone")


@pytest.mark.parametrize("junk", [b"", b"[" * 200_000, b"5", b'{"what": 3}', b"\xff"])
def test_a_note_that_nobody_can_read_is_no_name(store, junk, monkeypatch):
    monkeypatch.setattr(gate, "PATIENCE", 0.1)
    with store.at_work("x"):
        (note,) = (store.root / "locks").glob("at-work-*")
        note.write_bytes(junk)
        with pytest.raises(StoreError, match="is at work"), store.alone():
            pytest.fail("it is not alone")


def test_the_notes_of_killed_processes_go(store, run):
    run.kill()
    run.wait()
    assert list((store.root / "locks").glob("at-work-*"))
    Store(store.root).close()
    assert not list((store.root / "locks").glob("at-work-*"))
