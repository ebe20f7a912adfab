"""Whatever a stranger's bytes are, they are read, or refused in one sentence."""

import argparse
import contextlib
import io
import json
import tarfile
import zipfile

import pytest
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from dashboard.session import address
from klas.data import open_images
from klas.deploy import writing
from klas.deploy.load import check_stitch_list, load
from klas.errors import LONGEST, FormatError, KlasError
from klas.foreign import read_at_most, reading
from klas.networks.checkpoint import read_checkpoint
from klas.results.archive import pack, unpack
from klas.results.formats import dumps, file_sha256, parse
from klas.results.stitch_list import stitch_list
from klas.storage.store import Store
from klas.study import DIGITS, load_study, parse_study
from tests.conftest import SMALL
from tests.deploy.elastics import CONVNET, TINY, elastic
from tests.mutations import CASES, FEW_CASES, damaged, distorted, odd_values, tried
from tests.results.packs import contents, minimal


@contextlib.contextmanager
def one_sentence():
    """Nothing is raised but a KlasError, whose text is one line that can be printed."""
    try:
        yield
    except KlasError as error:
        text = str(error)
        assert text
        assert text.isprintable()
        assert len(text) <= LONGEST


def test_what_a_reader_raises_becomes_one_sentence():
    for error in (IndexError("a\nb"), RecursionError(), MemoryError(), AssertionError("\x1b[2J")):
        with (
            pytest.raises(FormatError, match=r"^x: is damaged \(\w+.*\); copy it$") as caught,
            reading(FormatError, "x: is damaged", "copy it"),
        ):
            raise error
        assert str(caught.value).isprintable()
    with pytest.raises(KeyboardInterrupt), reading(FormatError, "x", "y"):
        raise KeyboardInterrupt


def test_a_sentence_is_one_short_line_whatever_it_quotes():
    text = str(KlasError("first " + "x\x1b[31m\r\n" * 10**5 + " last"))
    assert text.isprintable()
    assert text.startswith("first ")
    assert text.endswith(" last")
    assert len(text) <= LONGEST


def test_a_file_without_an_end_is_not_read_for_ever(tmp_path):
    for endless in ("/dev/zero", "/dev/urandom"):
        with pytest.raises(FormatError, match="has more than 1,000 bytes"):
            read_at_most(endless, 1_000, FormatError)
    (tmp_path / "x").write_bytes(b"x" * 1_000)
    assert len(read_at_most(tmp_path / "x", 1_000, FormatError)) == 1_000


STUDY = DIGITS.to_toml().encode()


@pytest.mark.parametrize("cases", CASES)
def test_study_files(cases, tmp_path):
    path = tmp_path / "study.toml"

    def check(data):
        path.write_bytes(data)
        with one_sentence():
            study = load_study(path)
            assert study.results_key()
            path.write_text(study.to_toml(), encoding="utf-8")
            assert load_study(path) == study

    tried(cases, damaged(STUDY), check)


@pytest.mark.parametrize("cases", CASES)
def test_studies_in_packs_and_documents(cases):
    def check(plain):
        with one_sentence():
            assert parse_study(plain, "study").results_key()

    tried(cases, distorted(DIGITS.model_dump(mode="json")), check)


@pytest.mark.parametrize("cases", CASES)
def test_stitch_lists(cases, computed):
    listed = stitch_list(computed[1], SMALL.selection)

    def check(data):
        with one_sentence():
            parse(data, "list.json", "klas-stitches")

    tried(cases, distorted(listed).map(lambda document: json.dumps(document).encode()), check)
    tried(cases // 2, damaged(dumps(listed)), check)


@pytest.mark.parametrize("cases", CASES)
def test_bytes_of_documents(cases, computed):
    data = dumps(computed[1])

    def check(changed):
        with one_sentence():
            parse(changed, "scores.json", "klas-scores")

    tried(cases, damaged(data), check)


@pytest.mark.parametrize("cases", FEW_CASES)
def test_what_stitch_lists_name_is_built_or_refused(cases, computed, tmp_path):
    pairs = json.loads(dumps(stitch_list(computed[1], SMALL.selection)))
    first = pairs["stitches"][0]
    names = {first["source"], first["target"]}
    pairs["anchors"] = [a for a in pairs["anchors"] if a["name"] in names]
    pairs["stitches"] = [first]
    path = tmp_path / "list.json"

    def check(document):
        path.write_text(json.dumps(document))
        with one_sentence():
            check_stitch_list(path)

    tried(cases, distorted(pairs), check)


def test_a_list_of_too_many_anchors_is_refused_before_they_are_looked_at(computed, tmp_path):
    listed = json.loads(dumps(stitch_list(computed[1], SMALL.selection)))
    path, anchor = tmp_path / "list.json", listed["anchors"][0]
    listed["anchors"] += [anchor | {"name": f"a{k}"} for k in range(40_000)]
    path.write_text(json.dumps(listed))
    with pytest.raises(FormatError, match=r"at \$\.anchors: there are more than 1,000 items"):
        check_stitch_list(path)


def checkpoints():
    state = {"a.weight": torch.randn(3, 4), "b": torch.ones(2, dtype=torch.int64)}
    full = {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    for name, zipped in (("new.pt", True), ("old.pt", False)):
        file = io.BytesIO()
        torch.save(full, file, _use_new_zipfile_serialization=zipped)
        yield pytest.param(name, file.getvalue(), id=name)
    yield pytest.param("w.safetensors", save(state), id="safetensors")


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize(("name", "whole"), list(checkpoints()))
def test_checkpoints(cases, name, whole, tmp_path, recwarn):
    file = tmp_path / name

    def check(data):
        file.write_bytes(data)
        with one_sentence():
            state, _ = read_checkpoint(file, "mine")
            assert all(isinstance(value, torch.Tensor) for value in state.values())

    tried(cases, damaged(whole), check)
    assert not [w for w in recwarn if "pickle" in str(w.message)]


def packed(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def picture():
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


INNER = packed({"a/0.png": picture(), "b/0.png": picture()})
OUTER = packed({"a/0.png": picture(), "t.tar": INNER, f"b/{'x' * 120}.png": picture()})


@pytest.mark.parametrize("cases", CASES)
def test_tars(cases, tmp_path):
    path = tmp_path / "images.tar"

    def check(data):
        path.write_bytes(data)
        with one_sentence():
            images = open_images(str(path))
            for k in range(len(images.labels)):
                with one_sentence():
                    images.image(k)

    tried(cases, damaged(OUTER), check)


@pytest.mark.parametrize("depth", [17, 400])
def test_tars_within_tars_end(depth, tmp_path):
    whole = INNER
    for _ in range(depth):
        whole = packed({"t.tar": whole})
    (tmp_path / "images.tar").write_bytes(whole)
    with pytest.raises(KlasError, match="more than 16 deep; unpack the inner ones"):
        open_images(str(tmp_path / "images.tar"))


def test_a_member_of_negative_size_does_not_lead_round_and_round(tmp_path):
    with tarfile.open(fileobj=io.BytesIO(INNER)) as archive:
        second = archive.getmembers()[1]
    header = bytearray(INNER[second.offset : second.offset + 512])
    header[124:136] = (2**96 - 1024).to_bytes(12, "big")  # a size of -1024, as GNU tar writes it
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    whole = INNER[: second.offset] + bytes(header) + INNER[second.offset + 512 :]
    (tmp_path / "images.tar").write_bytes(whole)
    with pytest.raises(KlasError, match="is not a readable tar file"):
        open_images(str(tmp_path / "images.tar"))


@pytest.mark.parametrize("cases", CASES)
def test_packs(cases, computed, tmp_path, store):
    source, path = Store(tmp_path / "source"), tmp_path / "one.klas"
    minimal(source, document=computed[1])
    pack(source, SMALL, path)
    source.close()
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts["pack.json"])

    def check(data):
        path.write_bytes(data)
        before, done = contents(store), False
        with one_sentence():
            unpack(store, path)
            done = True
        assert done or contents(store) == before

    def check_manifest(changed):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in (parts | {"pack.json": json.dumps(changed)}).items():
                archive.writestr(name, content)
        check(file.getvalue())

    tried(cases // 2, damaged(whole), check)
    tried(cases // 2, distorted(manifest), check_manifest)


@pytest.mark.parametrize("cases", CASES)
def test_addresses(cases):
    names = (*address.SETTINGS, "tier", "show", "cell", "list", "pair", "cost", "range", "budget",
             "curves", "rival", "nonsense")  # fmt: skip
    values = odd_values().map(str) | st.text() | st.from_regex(r"[a-z~:;,0-9%-]{1,60}")
    asked = st.dictionaries(st.sampled_from(names), values)

    def check(given):
        chosen, complaints = address.parse(given, DIGITS)
        assert all("\n" not in sentence for sentence in complaints)
        assert set(chosen) <= set(names)

    tried(cases, asked, check)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An elastic network and one of its members in folders, with their documents."""
    whole = elastic({(TINY, CONVNET): [(2, 3)]}, class_names=list("abcdefghij"))
    folders = {"elastic": whole, "member": whole.extract(f"{TINY}:2-{CONVNET}:3")}
    root = tmp_path_factory.mktemp("saved")
    for name, network in folders.items():
        network.save(root / name)
    return root


@pytest.mark.parametrize("cases", FEW_CASES)
@pytest.mark.parametrize("name", ["elastic", "member"])
def test_saved_networks(cases, name, saved, tmp_path):
    document = json.loads((saved / name / "config.json").read_bytes())
    tensors = (saved / name / "model.safetensors").read_bytes()
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"

    def check_document(changed):
        with contextlib.suppress(Exception):  # the stranger signs what can be signed
            changed = writing.signed(changed)
        config.write_text(json.dumps(changed))
        weights.write_bytes(tensors)
        with one_sentence():
            load(tmp_path)

    def check_tensors(changed):
        weights.write_bytes(changed)
        stated = {"name": "model.safetensors", "sha256": file_sha256(weights)}
        config.write_text(json.dumps(writing.signed(document | {"weights": stated})))
        with one_sentence():
            load(tmp_path)

    tried(cases, distorted(document), check_document)
    # The names and shapes of tensors are in the first bytes.
    size = 8 + int.from_bytes(tensors[:8], "little")
    tried(cases, damaged(tensors[:size]).map(lambda head: head + tensors[size:]), check_tensors)


@pytest.mark.parametrize("text", ["1e999", '"\\ud800"', "[" * 900 + "]" * 900, "1" * 4000])
def test_what_json_can_say_and_no_digest_can_be_made_of(saved, tmp_path, text):
    document = (saved / "member" / "config.json").read_text()
    changed = document.replace('"arguments": {', f'"arguments": {{"x": {text}, ', 1)
    assert changed != document
    (tmp_path / "config.json").write_text(changed)
    with pytest.raises(KlasError) as caught:
        load(tmp_path)
    assert str(caught.value).isprintable()
