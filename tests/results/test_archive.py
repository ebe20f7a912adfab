"""Packs: everything comes through, and nothing is left half done."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from klas.errors import StoreError, StudyError
from klas.pipeline.run import Pipeline
from klas.results.archive import pack, unpack
from klas.results.comparison import compare
from klas.results.usage import usage
from klas.storage.key import Key
from klas.storage.saved_studies import open_study, save_study, saved_studies
from klas.storage.store import Store
from klas.storage.upkeep import verify
from klas.study import DIGITS
from tests.conftest import SMALL
from tests.results.packs import contents, minimal


class Record:
    """A progress that keeps how many units each stage had to do."""

    def __init__(self):
        self.units = {}

    def start(self, stage, unit, total):
        self.units[stage] = total

    def label(self, text):
        pass

    def advance(self, amount):
        pass


@pytest.fixture(scope="module")
def packed(computed, tmp_path_factory):
    """The computed study in a file, and how many results it has."""
    path = tmp_path_factory.mktemp("packed") / "small.klas"
    return path, pack(computed[0], SMALL, path)


def test_on_another_machine_nothing_is_computed_again(computed, packed, store, tmp_path):
    path, count = packed
    record = Record()
    actual = unpack(store, path, record)
    assert record.units == {"unpack": count}
    assert (actual.study, actual.results, actual.present, actual.kept) == (SMALL, count, 0, 0)
    assert actual.bytes == sum(e.bytes for e in store.entries())
    assert set(store.entries()) <= set(computed[0].entries())
    assert verify(store).damaged == ()
    assert open_study(store, "small") == SMALL
    assert not list((store.root / "tmp").iterdir())

    record = Record()
    document = Pipeline(SMALL, store, device="cpu", progress=record).run()
    assert document == computed[1]
    assert set(record.units.values()) == {0}
    there, here = (compare(computed[1], SMALL, s) for s in (store, computed[0]))
    assert there == here
    (held,) = (h for h in usage(store).studies if h.known.name == "small")
    assert held.complete
    assert held.results == count
    assert usage(store).unclaimed == 0


def test_the_same_results_give_the_same_bytes_and_unpack_gives_them_back(packed, store, tmp_path):
    path, _ = packed
    unpack(store, path)
    again = tmp_path / "again.klas"
    pack(store, SMALL, again)
    assert again.read_bytes() == path.read_bytes()


def test_unpacking_twice_changes_nothing(packed, store):
    path, count = packed
    unpack(store, path)
    before = contents(store)
    actual = unpack(store, path)
    assert (actual.present, actual.kept) == (count, 0)
    assert contents(store) == before


def test_what_is_here_stays_and_what_is_damaged_here_is_mended(packed, store, computed):
    path, _ = packed
    entries = sorted(computed[0].entries(), key=lambda e: e.digest)
    theirs = [e for e in entries if e.kind == "json"][:2]

    class Same(Key):
        """A key whose digest is another's."""

        digest = theirs[0].digest

    store.put(Same(stage="anchors", version=1, inputs={}, label="mine"), {"mine": 1})
    unpack_first = unpack(store, path)
    assert (unpack_first.present, unpack_first.kept) == (1, 1)
    assert store.get(Same(stage="", version=1, inputs={})) == {"mine": 1}
    damaged = store.root / "objects" / theirs[1].digest[:2] / f"{theirs[1].digest}.json"
    whole = damaged.read_bytes()
    damaged.write_bytes(b"?")
    unpack(store, path)
    assert damaged.read_bytes() == whole
    assert verify(store).damaged == ()


def test_a_document_gives_way_only_to_one_that_says_more(packed, store, computed):
    path, _ = packed
    name = f"scores-{SMALL.results_key()}"
    mine = json.loads(json.dumps(computed[1]))
    mine["anchors"][0]["accuracy"] = 0.5
    store.set_ref(name, mine)
    unpack(store, path)
    assert store.get_ref(name) == mine
    poorer = json.loads(json.dumps(computed[1]))
    poorer["pairs"][0]["theta"] = None
    store.set_ref(name, poorer)
    unpack(store, path)
    assert store.get_ref(name) == computed[1]


def test_another_study_of_that_name_is_left_alone(packed, store):
    path, _ = packed
    other = SMALL.model_copy(update={"seed": 9})
    save_study(store, other)
    before = contents(store)
    with pytest.raises(StudyError, match="another study 'small' here; rename it"):
        unpack(store, path)
    assert contents(store) == before


def test_the_built_in_study_needs_no_file(computed, tmp_path, store):
    source = Store(tmp_path / "source")
    document = computed[1] | {"study": DIGITS.model_dump(mode="json")}
    minimal(source, DIGITS, document)
    pack(source, DIGITS, tmp_path / "d")
    renamed = SMALL.model_copy(update={"name": "digits"})
    with pytest.raises(StudyError, match="give it another name"):
        pack(source, renamed, tmp_path / "x")
    source.close()
    assert unpack(store, tmp_path / "d").path is None
    assert saved_studies(store) == []
    assert not (tmp_path / "x").exists()


def test_there_is_nothing_to_pack_before_a_run(store, tmp_path, computed):
    for prepare in (lambda: None, lambda: minimal(store)):
        prepare()
        with pytest.raises(StoreError, match="holds no results of it; run `klas run`"):
            pack(store, SMALL, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("damage", [b"?", None])
def test_a_damaged_result_is_never_packed(store, tmp_path, computed, damage):
    digest = minimal(store, document=computed[1])
    place = store.root / "objects" / digest[:2] / f"{digest}.json"
    place.unlink() if damage is None else place.write_bytes(damage)
    (tmp_path / "x").write_bytes(b"as it was")
    with pytest.raises(StoreError, match="one: the stored result is missing or damaged"):
        pack(store, SMALL, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"as it was"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "x"]


def test_a_place_that_cannot_be_written_is_a_sentence(store, tmp_path, computed, monkeypatch):
    minimal(store, document=computed[1])
    (tmp_path / "file").touch()
    for path, words in ((tmp_path / "file" / "x", "file"), (tmp_path, "is not a file")):
        with pytest.raises(StoreError, match=words):
            pack(store, SMALL, path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        pack(store, SMALL, tmp_path / "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "file"]


def test_a_disk_that_is_too_small_is_told_beforehand(one, store, monkeypatch):
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 8, 2))
    with pytest.raises(StoreError, match=r"the pack needs 0\.0 MB, 0\.0 MB are free"):
        unpack(store, one[0])
    assert contents(store) == {}


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(one, store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        unpack(store, one[0])
    assert contents(store) == {}
    monkeypatch.undo()
    assert unpack(store, one[0]).results == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_does_not_grow_with_the_pack(tmp_path, computed):
    """48 MiB more of results cost a process no more memory, packing and unpacking."""
    (tmp_path / "document.json").write_text(json.dumps(computed[1]))
    script = textwrap.dedent(
        f"""
        import json, sys
        from pathlib import Path
        import numpy as np
        from klas.results.archive import pack, unpack
        from klas.storage.key import Key
        from klas.storage.store import Store
        from klas.study import parse_study
        folder, rows = Path({str(tmp_path)!r}) / sys.argv[1], int(sys.argv[1])
        document = json.loads(Path({str(tmp_path / "document.json")!r}).read_text())
        study = parse_study(document["study"], "test")
        store = Store(folder)
        key = Key(stage="features", version=1, inputs={{}})
        with store.writing(key, {{"a": ((rows, 256, 1024), np.dtype("f4"))}}) as out:
            for row in range(rows):
                out.append("a", np.full((1, 256, 1024), row, "f4"))
        store.set_ref("used-" + study.results_key(), [key.digest])
        store.set_ref("scores-" + study.results_key(), document)
        pack(store, study, folder / "p")
        unpack(Store(folder / "other"), folder / "p")
        with open("/proc/self/status") as status:
            print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
        """
    )
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", script, str(rows)])) for rows in (8, 56)
    ]
    assert peaks[1] - peaks[0] < 8_000  # KiB, of 49,152 that the larger one has more
