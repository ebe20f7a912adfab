import codecs
import copy
import json

import pytest

from klas.errors import FormatError
from klas.results.formats import dumps, parse, read, write
from klas.results.stitch_list import stitch_list
from tests.conftest import SMALL


@pytest.fixture
def stitches(computed):
    return stitch_list(computed[1], SMALL.selection)


@pytest.mark.parametrize("metric", ["kl", "theta", "snnet"])
def test_a_list_is_read_back_as_written(computed, tmp_path, metric):
    spec = SMALL.selection.model_copy(update={"metric": metric})
    made = stitch_list(computed[1], spec)
    write(made, tmp_path / "s.json")
    assert read(tmp_path / "s.json", "klas-stitches") == json.loads(dumps(made))
    if metric == "snnet":
        assert all(s["score"] is None for s in made["stitches"])


def broken(stitches, change):
    made = json.loads(dumps(stitches))
    change(made)
    return made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(version=99), "version 99"),
        (lambda d: d.update(format="klas-scores"), "not a klas-stitches file"),
        (lambda d: d.pop("stitches"), "'stitches' is a required property"),
        (lambda d: d["stitches"][0].update(macs="many"), "stitches[0].macs"),
        (lambda d: d["stitches"][0].update(macs=10**400), "than the maximum of 92233720368547"),
        (lambda d: d["stitches"][0].update(params=2**63), "stitches[0].params"),
        (lambda d: d["anchors"][0].update(macs=10**400), "anchors[0].macs"),
        (lambda d: d["anchors"][0].update(params=10**400), "anchors[0].params"),
        (lambda d: d["stitches"][0].update(source_block=99), "source_block 99"),
        (lambda d: d["stitches"][0].update(source_block=0), "out of range"),
        (lambda d: d["stitches"][1].update(target_block=5), "target_block 5"),
        (lambda d: d["stitches"][0].update(source="nobody"), "'nobody' is not one of its anchors"),
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
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "has version 2, which is from a newer klas; this one reads version 1"),
        ({"format": "klas-family"}, "its format is 'klas-family', which is from a newer klas"),
        ({"task": "speech"}, "its task is 'speech', which is from a newer klas"),
        ({"accuracy_metric": "bleu"}, "'bleu', which is from a newer klas; this one reads 'top1'"),
    ],
)
def test_what_a_newer_klas_has_written_says_so(stitches, change, words):
    with pytest.raises(FormatError, match=words) as caught:
        parse(dumps(stitches | change), "s.json", "klas-stitches")
    assert str(caught.value).endswith("; update klas")


@pytest.mark.parametrize("change", [{"version": 0}, {"version": "2"}, {"task": 3}, {"format": 3}])
def test_what_no_klas_writes_is_not_called_newer(stitches, change):
    with pytest.raises(FormatError) as caught:
        parse(dumps(stitches | change), "s.json", "klas-stitches")
    assert "newer" not in str(caught.value)


def test_the_largest_costs_are_read(stitches, tmp_path):
    stitches["stitches"][0].update(macs=2**63 - 1, params=2**63 - 1)
    write(stitches, tmp_path / "s.json")
    assert read(tmp_path / "s.json", "klas-stitches") == json.loads(dumps(stitches))


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


@pytest.fixture(scope="module")
def compared(comparison):
    return json.loads(dumps(comparison))


def test_a_comparison_is_read_back_as_written(compared, tmp_path):
    write(compared, tmp_path / "c.json")
    assert read(tmp_path / "c.json", "klas-comparison") == compared


def test_infinities_and_what_is_undefined_have_their_words(compared, tmp_path):
    made = copy.deepcopy(compared)
    tuned = made["pairs"][0]["methods"]["mse"]["tuned"]
    tuned["saving"] = {"value": "inf", "low": "-inf", "high": None}
    tuned["gain"] = None
    write(made, tmp_path / "c.json")
    assert read(tmp_path / "c.json", "klas-comparison") == made


def first_method(document):
    return document["pairs"][0]["methods"]["kl"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(version=2), "version 2"),
        (lambda d: d.update(format="klas-scores"), "not a klas-comparison file"),
        (lambda d: d.pop("all_pairs"), "'all_pairs' is a required property"),
        (lambda d: d.update(made_at="noon"), "'made_at' was unexpected"),
        (lambda d: d.update(pairs=[]), "pairs"),
        (lambda d: d.update(finetuned_on="train"), "finetuned_on"),
        (lambda d: d["anchors"][0].update(val=0.9), "anchors[0].val"),
        (lambda d: d["pairs"][0]["methods"].pop("dm"), "'dm' is a required property"),
        (lambda d: d["pairs"][0]["methods"].update(gut=None), "pairs[0].methods"),
        (lambda d: d["pairs"][0]["chosen"]["kl"][0].update(macs=1.5), "chosen.kl[0].macs"),
        (lambda d: d["pairs"][0]["chosen"]["kl"][0].update(score="inf"), "chosen.kl[0].score"),
        (lambda d: first_method(d).update(overlap=[1, 2, 3]), "methods.kl.overlap"),
        (lambda d: first_method(d)["tuned"].pop("auc"), "methods.kl.tuned"),
        (lambda d: first_method(d)["tuned"]["auc"].update(value=None), "methods.kl.tuned.auc"),
        (lambda d: first_method(d)["tuned"]["auc"].update(value="nan"), "methods.kl.tuned.auc"),
        (lambda d: first_method(d)["tuned"].update(pairs=3), "methods.kl.tuned"),
        (lambda d: first_method(d)["budgets"].update({"-1": None}), "budgets"),
        (lambda d: d["all_pairs"]["methods"]["kl"]["tuned"].pop("pairs"), "kl.tuned"),
    ],
)
def test_each_fault_of_a_comparison_gets_one_sentence(compared, tmp_path, change, words):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(broken(compared, change)))
    with pytest.raises(FormatError) as caught:
        read(path, "klas-comparison")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_before_a_document_is_passed_over(computed):
    document = computed[1]
    assert parse(codecs.BOM_UTF8 + dumps(document), "marked.json", "klas-scores") == document
