import copy
import json

import pytest
from jsonschema import Draft202012Validator

from klas.errors import FormatError
from klas.exports import dumps, read, schema, stitch_list, write
from klas.study import SelectionSpec
from tests.conftest import SMALL


@pytest.fixture
def stitches(computed):
    return stitch_list(computed[1], SMALL.selection)


def test_what_we_write_follows_the_shipped_schemas(computed, stitches):
    _, document = computed
    for form, made in (("klas-scores", document), ("klas-stitches", stitches)):
        Draft202012Validator.check_schema(schema(form))
        Draft202012Validator(schema(form)).validate(json.loads(dumps(made)))


@pytest.mark.parametrize("metric", ["kl", "theta", "snnet"])
def test_a_list_is_read_back_as_written(computed, tmp_path, metric):
    spec = SMALL.selection.model_copy(update={"metric": metric})
    made = stitch_list(computed[1], spec)
    write(made, tmp_path / "s.json")
    assert read(tmp_path / "s.json", "klas-stitches") == json.loads(dumps(made))
    if metric == "snnet":
        assert all(s["score"] is None for s in made["stitches"])


def test_infinite_scores_are_written_as_a_word(computed):
    document = copy.deepcopy(computed[1])
    document["pairs"][0]["candidates"][0]["scores"]["kl"] = "inf"
    Draft202012Validator(schema("klas-scores")).validate(document)
    chosen = stitch_list(document, SMALL.selection)["stitches"]
    first = document["pairs"][0]["candidates"][0]
    assert (first["source_block"], first["target_block"]) not in {
        (s["source_block"], s["target_block"])
        for s in chosen
        if s["target"] == document["pairs"][0]["target"]
    }


def test_the_list_says_how_to_choose_again(stitches):
    spec = {k: v for k, v in stitches["selection"].items() if k not in ("pairs", "edges")}
    assert SelectionSpec.model_validate_json(json.dumps(spec)) == SMALL.selection
    assert len(stitches["selection"]["edges"][0]) == SMALL.selection.buckets + 1


def broken(stitches, change):
    made = json.loads(dumps(stitches))
    change(made)
    return made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(version=99), "version 99"),
        (lambda d: d.update(format="klas-scores"), "no klas-stitches file"),
        (lambda d: d.pop("stitches"), "'stitches' is a required property"),
        (lambda d: d["stitches"][0].update(macs="many"), "stitches[0].macs"),
        (lambda d: d["stitches"][0].update(source_block=99), "source_block 99"),
        (lambda d: d["stitches"][0].update(source_block=0), "out of range"),
        (lambda d: d["stitches"][1].update(target_block=5), "target_block 5"),
        (lambda d: d["stitches"][0].update(source="nobody"), "'nobody' is none of its anchors"),
        (lambda d: d["anchors"][0].update(digest="beef"), "anchors[0].digest"),
    ],
)
def test_each_fault_gets_one_sentence(stitches, tmp_path, change, words):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(broken(stitches, change)))
    with pytest.raises(FormatError) as caught:
        read(path, "klas-stitches")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_cut_off_anywhere_is_refused(stitches, tmp_path):
    data = dumps(stitches)
    path = tmp_path / "s.json"
    for end in range(0, len(data) - 2, len(data) // 12):
        path.write_bytes(data[:end])
        with pytest.raises(FormatError):
            read(path, "klas-stitches")


@pytest.mark.parametrize(
    "content",
    [b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b"9" * 5_000, b'{"format": NaN}'],
    ids=["list", "number", "null", "bytes", "deep", "long", "nan"],
)
def test_other_json_and_other_bytes(tmp_path, content):
    path = tmp_path / "s.json"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        read(path, "klas-stitches")


def test_an_absent_file(tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        read(tmp_path / "none.json", "klas-stitches")
