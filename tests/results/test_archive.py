"""Packs: everything comes through, and nothing that a hostile or broken file says is believed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klas.errors import FormatError, KlasError, StoreError, StudyError
from klas.pipeline.run import Pipeline
from klas.results.archive import pack, unpack
from klas.results.comparison import compare
from klas.results.usage import usage
from klas.storage.key import Key
from klas.storage.saved_studies import open_study, save_study, saved_studies
from klas.storage.store import Store
from klas.study import DIGITS
from tests.conftest import SMALL


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


def contents(store):
    """Everything in a store that a pack could change."""
    return {
        str(p.relative_to(store.root)): p.read_bytes()
        for folder in ("objects", "refs", "studies", "tmp")
        for p in (store.root / folder).rglob("*")
        if p.is_file()
    }


def test_on_another_machine_nothing_is_computed_again(computed, packed, store, tmp_path):
    path, count = packed
    record = Record()
    found = unpack(store, path, record)
    assert record.units == {"unpack": count}
    assert (found.study, found.results, found.present, found.kept) == (SMALL, count, 0, 0)
    assert found.bytes == sum(e.bytes for e in store.entries())
    assert set(store.entries()) <= set(computed[0].entries())
    assert store.verify() == []
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
    found = unpack(store, path)
    assert (found.present, found.kept) == (count, 0)
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
    assert store.verify() == []


def test_a_document_gives_way_only_to_one_that_says_more(packed, store, computed):
    path, _ = packed
    name = f"scores-{SMALL.results_key()}"
    fuller = computed[1] | {"mine": True}
    store.set_ref(name, fuller)
    unpack(store, path)
    assert store.get_ref(name) == fuller
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


def minimal(store, study=SMALL, document=None, size=3):
    """A store with one result of a study; returns its digest."""
    key = Key(stage="features", version=1, inputs={"size": size}, label="one")
    store.put(key, "x" * size)
    store.set_ref(f"used-{study.results_key()}", [key.digest])
    if document is not None:
        store.set_ref(f"scores-{study.results_key()}", document)
    return key.digest


@pytest.fixture
def one(computed, tmp_path):
    """A pack with one result."""
    source = Store(tmp_path / "source")
    digest = minimal(source, document=computed[1])
    path = tmp_path / "one.klas"
    assert pack(source, SMALL, path) == 1
    source.close()
    return path, digest


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
    for path, words in ((tmp_path / "file" / "x", "file"), (tmp_path, "is no file")):
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


# -- files that are not what a pack is ---------------------------------------------------------


def rebuilt(path, *, change=None, members=(), drop=(), store_as=zipfile.ZIP_STORED, info=None):
    """The pack with its manifest changed, members added or dropped, written anew."""
    with zipfile.ZipFile(path) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist() if name not in drop]
    manifest = json.loads(parts[0][1])
    if change is not None:
        change(manifest)
    parts[0] = ("pack.json", json.dumps(manifest).encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [*parts, *members]:
            entry = zipfile.ZipInfo(name)
            if info is not None and name.startswith("objects/"):
                info(entry)
            kind = store_as if name.startswith("objects/") else zipfile.ZIP_STORED
            archive.writestr(entry, data, compress_type=kind)
    return path


def set_result(**values):
    return lambda manifest: manifest["results"][0].update(values)


def as_link(entry):
    entry.create_system = 3
    entry.external_attr = 0o120777 << 16


CHANGES = {
    "another format": ({"change": lambda m: m.update(format="x")}, "is no pack"),
    "unknown version": ({"change": lambda m: m.update(version="one")}, "has version 'one'"),
    "newer version": (
        {"change": lambda m: m.update(version=2)},
        "has version 2, which is of a newer klas; this one reads version 1: update klas",
    ),
    "newer kind of result": (
        {"change": set_result(kind="zarr")},
        "its kind of result is 'zarr', which is of a newer klas",
    ),
    "unknown key": ({"change": lambda m: m.update(more=1)}, "at more"),
    "no study": ({"change": lambda m: m.update(study={"name": "x"})}, "missing"),
    "a name that is a path": (
        {"change": lambda m: m["study"].update(name="../../etc/x")},
        "name = ",
    ),
    "a digest that is a path": ({"change": set_result(digest="../../../x")}, "results.0.digest"),
    "a digest and a line": ({"change": set_result(digest="0" * 64 + "\n")}, "results.0.digest"),
    "a kind that is a path": ({"change": set_result(kind="json/../x")}, "results.0.kind"),
    "a size below zero": ({"change": set_result(bytes=-1)}, "results.0.bytes"),
    "another size": ({"change": set_result(bytes=10**15)}, "has another size than it says"),
    "another checksum": ({"change": set_result(sha256="0" * 64)}, "is damaged"),
    "a result twice": ({"change": lambda m: m["results"].append(m["results"][0])}, "twice"),
    "a result that is not there": (
        {"change": lambda m: m["results"].append(m["results"][0] | {"digest": "0" * 64})},
        "lacks objects/0000",
    ),
    "no document": ({"drop": ["scores.json"]}, "lacks scores.json"),
    "an absolute path": ({"members": [("/etc/x", b"x")]}, "holds '/etc/x', which no pack holds"),
    "a way out": ({"members": [("../../x", b"x")]}, r"holds '../../x', which no pack holds"),
    "a file more": ({"members": [("objects/x", b"x")]}, "no pack holds"),
    "a link": ({"info": as_link}, "is a link"),
    "compressed": ({"store_as": zipfile.ZIP_DEFLATED}, "compressed"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_no_pack_says_is_refused_and_nothing_is_written(one, store, case):
    changes, words = CHANGES[case]
    path = rebuilt(one[0], **changes)
    with pytest.raises(KlasError, match=words) as caught:
        unpack(store, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(store) == {}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(one, store):
    path, digest = one
    rebuilt(path, members=[(f"objects/{digest}.json", b"other")])
    with pytest.raises(FormatError, match="holds a file twice"):
        unpack(store, path)


def test_the_document_is_checked_as_any_scores_file(one, store, computed):
    path, _ = one
    for document, words in (
        (b"{", "its scores.json: is no complete JSON"),
        (json.dumps(computed[1] | {"version": 7}).encode(), "has version 7"),
        (json.dumps(computed[1] | {"study": DIGITS.model_dump(mode="json")}).encode(), "another"),
    ):
        rebuilt(path, drop=["scores.json"], members=[("scores.json", document)])
        with pytest.raises(FormatError, match=words) as caught:
            unpack(store, path)
        assert str(store.root) not in str(caught.value)
        assert contents(store) == {}


def test_a_label_cannot_steer_a_terminal(one, store):
    unpack(store, rebuilt(one[0], change=set_result(label="\x1b[2Jgone\n")))
    (entry,) = store.entries()
    assert entry.label == "�[2Jgone�"


@pytest.mark.parametrize("data", [b"", b"x", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_zip_is_refused(store, tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(FormatError, match="is no pack"):
        unpack(store, tmp_path / "x")
    with pytest.raises(FormatError, match="cannot be read"):
        unpack(store, tmp_path)


def test_a_cut_off_pack_is_refused_wherever_it_ends(one, store):
    path, _ = one
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match="is no pack"):
            unpack(store, path)
    assert contents(store) == {}


def test_a_directory_that_points_before_the_file_is_refused(one, store):
    path, _ = one
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x05\x06") + 16  # where the zip says that its directory begins
    stated = int.from_bytes(data[place : place + 4], "little")
    data[place : place + 4] = (stated + 1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FormatError, match="is no pack, or is damaged"):
        unpack(store, path)
    assert contents(store) == {}


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_flipped_bytes_are_refused_in_a_sentence_or_change_nothing(one, store, data):
    """Every byte is the zip's, the manifest's or a result's; those of the zip that nobody reads
    may change without harm."""
    path, _ = one
    whole = bytearray(path.read_bytes())
    original = bytes(whole)
    # The document is nine tenths of it: look at the rest as often.
    start = original.index(b"scores.json") if data.draw(st.booleans()) else 0
    place = data.draw(
        st.integers(start, len(whole) - 1) | st.integers(len(whole) - 400, len(whole) - 1)
    )
    whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    refused = None
    try:
        unpack(store, path)
    except KlasError as error:
        refused = str(error)
    finally:
        path.write_bytes(original)
    if refused is not None:
        assert "\n" not in refused
        assert contents(store) == {}
    else:
        (entry,) = store.entries()
        stored = store.root / "objects" / entry.digest[:2] / f"{entry.digest}.json"
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == entry.sha256
        store.clear()
        shutil.rmtree(store.root / "studies", ignore_errors=True)


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
