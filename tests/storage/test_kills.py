"""Whenever a process is killed: nothing is damaged or lost, and the next one comes to the same."""

import os
import random
import shutil
import time

import numpy as np
import pytest

from klas.storage.exports import FOLDER as EXPORTS
from klas.storage.exports import storing_export
from klas.storage.files import write_whole
from klas.storage.key import Key
from klas.storage.sealed import damaged as damaged_networks
from klas.storage.sealed import delete_all, seal
from klas.storage.store import Store
from klas.storage.trained import FOLDER as TRAINED
from klas.storage.trained import LIST, training_folder
from klas.storage.upkeep import changing, repair, verify
from tests.storage.kills import FULL, READ_ONLY, killed, refused, steps_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

TEXT, ARRAYS, ROWS, OLD = (
    Key(stage=stage, version=1, inputs={}, label=stage)
    for stage in ("scores", "probes", "features", "tuned")
)


def run(root):
    """What a command does: it makes what is missing, and what is damaged again."""
    with Store(root) as store, store.at_work("klas run", "0" * 64):
        store.compute(TEXT, lambda: {"a": [1, 2]})
        store.compute(ARRAYS, lambda: {"w": np.arange(500.0)})
        store.compute(ROWS, lambda: _rows(store))
        store.compute(OLD, lambda: ["old"])
        store.set_ref("used-x", [TEXT.digest])


def export(root):
    """What a job does that exports."""
    with Store(root) as store, store.at_work("a job"), storing_export(store, "one") as folder:
        (folder / "model.onnx").write_bytes(b"weights")
    run(root)


def train(root):
    """What a job does that trains: it writes in the place where the network then is."""
    with Store(root) as store, store.at_work("a job"):
        folder = training_folder(store, "one")
        for name in (LIST, "model.safetensors"):
            write_whole(folder / name, b"weights")
        seal(folder)
    run(root)


def clear_networks(root):
    """All networks are deleted; then one is trained and one exported."""
    with Store(root) as store, store.alone():
        delete_all(store, EXPORTS)
        delete_all(store, TRAINED)
    train(root)
    export(root)


def clear(root):
    """Everything is deleted and made again."""
    with Store(root) as store, changing(store):
        store.clear()
    run(root)


def clear_stage(root):
    """A stage is deleted and made again."""
    with Store(root) as store, changing(store):
        store.clear("probes")
    run(root)


def mend(root):
    """The index is made again."""
    with Store(root) as store:
        repair(store)
    run(root)


def _rows(store):
    with store.writing(ROWS, {"r": ((6,), np.dtype("f4"))}) as out:
        for start in (0, 3):
            out.append("r", np.arange(start, start + 3, dtype="f4"))


def nothing(root):
    """The folder is not there yet."""


def everything(root):
    """All is there."""
    run(root)


def networks(root):
    """One that is trained and one that is exported are there too."""
    train(root)
    export(root)


def damaged(root):
    """A result is damaged, one is of an older klas, one is lost, and one has a wrong row."""
    run(root)
    with Store(root) as store:
        paths = [store.path_of(store.entry(k.digest)) for k in (TEXT, ARRAYS, ROWS)]
    paths[0].write_bytes(b"?")
    paths[1].with_suffix(".entry").unlink()
    paths[2].unlink()


CASES = [
    (nothing, run),
    (everything, clear),
    (everything, clear_stage),
    (everything, export),
    (everything, train),
    (networks, clear_networks),
    (damaged, run),
    (damaged, mend),
]


def contents(root):
    """Everything that a store keeps, but for locks; of the index what it says."""
    kept = {
        str(path.relative_to(root)): path.read_bytes()
        for folder in ("objects", "refs", "tmp", "exports", "trained")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    with Store(root) as store:
        return kept | {"index": sorted(store.contents.rows())}


def check(start, work, step, folder, fault=killed):
    """Let a fault befall a work at a step; returns whether it came that far, and what is kept."""
    root = folder / "cache"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    start(root)
    came = fault(lambda: work(root), step)
    with Store(root) as store:
        found, bad = verify(store), damaged_networks(root / EXPORTS, may_be_unfinished=False)
        bad += damaged_networks(root / TRAINED, may_be_unfinished=True)
        # What was damaged before may still be.
        assert start is damaged or not (found.damaged or found.unlisted), (step, found)
        assert (found.nameless, found.rows, bad) == ((), (), []), step
    work(root)
    with Store(root) as store:
        assert verify(store).damaged == verify(store).unlisted == ()
    return came, contents(root)


def whole(start, work, folder):
    """What a store keeps after a work that nobody kills."""
    came, kept = check(start, work, -1, folder)
    assert not came
    return kept


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize(("start", "work"), CASES[:7])
def test_a_kill_costs_nothing(start, work, part, tmp_path):
    start(tmp_path / "count" / "cache")
    steps = steps_of(lambda: work(tmp_path / "count" / "cache"))
    step = (2 * part + 1) * steps // 8
    expected = whole(start, work, tmp_path / "whole")
    came, kept = check(start, work, step, tmp_path / "killed")
    assert came
    assert kept == expected


@pytest.mark.soak
@pytest.mark.parametrize(("start", "work"), CASES)
def test_a_kill_at_any_step_costs_nothing(start, work, tmp_path):
    expected, steps, came = whole(start, work, tmp_path / "whole"), 0, True
    while came:
        came, kept = check(start, work, steps, tmp_path / "killed")
        assert kept == expected, steps
        steps += came
    assert steps > 20
    print(f"{start.__name__}, {work.__name__}: {steps} kills, nothing lost")


def unwritable(number):
    """A disk that from a step on is full or read-only: a work ends then, with a sentence."""

    def fault(work, step):
        came, sentence = refused(work, step, number)
        assert came or not sentence
        return came

    return fault


REASONS = [pytest.param(FULL, id="full"), pytest.param(READ_ONLY, id="read-only")]


@pytest.mark.parametrize("number", REASONS)
@pytest.mark.parametrize(("start", "work"), CASES)
def test_a_disk_that_takes_nothing_more_costs_nothing(start, work, number, tmp_path):
    start(tmp_path / "count" / "cache")
    steps = steps_of(lambda: work(tmp_path / "count" / "cache"))
    expected = whole(start, work, tmp_path / "whole")
    came, kept = check(start, work, steps // 4 * 2, tmp_path / "refused", unwritable(number))
    assert came
    assert kept == expected


@pytest.mark.soak
@pytest.mark.parametrize("number", REASONS)
@pytest.mark.parametrize(("start", "work"), CASES)
def test_a_disk_that_takes_nothing_more_at_any_step(start, work, number, tmp_path):
    expected, step, came = whole(start, work, tmp_path / "whole"), 0, True
    while came:
        came, kept = check(start, work, step, tmp_path / "refused", unwritable(number))
        assert kept == expected, step
        step += 2
    assert step > 20


def test_a_clock_that_jumps_costs_nothing(tmp_path, monkeypatch):
    expected = {work: whole(start, work, tmp_path / "whole") for start, work in CASES}
    rng = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: rng.uniform(1, 2**32))
    for start, work in CASES:
        assert whole(start, work, tmp_path / "jumps") == expected[work]
