"""Nothing that a hostile or broken pack says is believed."""

import hashlib
import json
import shutil
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klas.errors import FormatError, KlasError
from klas.results.archive import unpack
from klas.study import DIGITS
from tests.results.packs import contents


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
    "another format": ({"change": lambda m: m.update(format="x")}, "is not a pack"),
    "unknown version": ({"change": lambda m: m.update(version="one")}, "has version 'one'"),
    "newer version": (
        {"change": lambda m: m.update(version=2)},
        "has version 2, which is from a newer klas; this one reads version 1; update klas",
    ),
    "newer kind of result": (
        {"change": set_result(kind="zarr")},
        "its kind of result is 'zarr', which is from a newer klas",
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
    "another size": ({"change": set_result(bytes=10**15)}, "does not have the size that it states"),
    "another checksum": ({"change": set_result(sha256="0" * 64)}, "is damaged"),
    "a result twice": ({"change": lambda m: m["results"].append(m["results"][0])}, "twice"),
    "a result that is not there": (
        {"change": lambda m: m["results"].append(m["results"][0] | {"digest": "0" * 64})},
        "lacks objects/0000",
    ),
    "no document": ({"drop": ["scores.json"]}, "lacks scores.json"),
    "an absolute path": (
        {"members": [("/etc/x", b"x")]},
        "holds '/etc/x', which does not belong in a pack",
    ),
    "a way out": (
        {"members": [("../../x", b"x")]},
        r"holds '../../x', which does not belong in a pack",
    ),
    "a file more": ({"members": [("objects/x", b"x")]}, "does not belong in a pack"),
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
        (b"{", "its scores.json: is not complete JSON"),
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
    assert entry.label == "�[2Jgone "


@pytest.mark.parametrize("data", [b"", b"x", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_zip_is_refused(store, tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(FormatError, match="is not a pack"):
        unpack(store, tmp_path / "x")
    with pytest.raises(FormatError, match="cannot be read"):
        unpack(store, tmp_path)


def test_a_cut_off_pack_is_refused_wherever_it_ends(one, store):
    path, _ = one
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match="is not a pack"):
            unpack(store, path)
    assert contents(store) == {}


def test_a_directory_that_points_before_the_file_is_refused(one, store):
    path, _ = one
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x05\x06") + 16  # where the zip says that its directory begins
    stated = int.from_bytes(data[place : place + 4], "little")
    data[place : place + 4] = (stated + 1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FormatError, match="is not a pack, or is damaged"):
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
