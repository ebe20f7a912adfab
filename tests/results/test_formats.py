import copy
import io
import json

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from klas.errors import FormatError
from klas.results.formats import as_csv, dumps, read, schema, stitch_layer_entry, stitch_list, write
from klas.results.pair import pairs_of
from klas.results.selections import choose
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


def test_a_list_made_by_hand_holds_just_these(computed, tmp_path):
    _, document = computed
    pairs = pairs_of(document)[:2]
    picked = [np.zeros(len(pair.macs), dtype=bool) for pair in pairs]
    picked[0][-1] = picked[1][[0, 2]] = True
    made = stitch_list(document, SMALL.selection, pairs=pairs, by_hand=picked)
    write(made, tmp_path / "s.json")
    found = read(tmp_path / "s.json", "klas-stitches")
    assert found["selection"]["edited"] is True
    for pair, mask in zip(pairs, picked):
        rule = choose(pair, SMALL.selection)
        entries = [s for s in found["stitches"] if (s["source"], s["target"]) == pair.names]
        assert {(s["source_block"], s["target_block"]) for s in entries} == set(pair.places(mask))
        for entry in entries:
            row = pair.places(mask | ~mask).index((entry["source_block"], entry["target_block"]))
            assert entry["score"] == pair.scores("kl")[row]
            assert entry["bucket"] == (rule.bucket[row] if rule.bucket[row] >= 0 else None)


def test_the_table_says_what_the_list_says(stitches):
    found = pd.read_csv(io.BytesIO(as_csv(stitches)))
    assert len(found) == len(stitches["stitches"]) > 0
    for row, stitch in zip(found.to_dict("records"), stitches["stitches"]):
        for name in ("source", "source_block", "target", "target_block", "macs", "params"):
            assert row[name] == stitch[name]
        assert row["score"] == stitch["score"]
        for tier, value in stitch["accuracy"].items():
            assert row[tier] == value or (value is None and np.isnan(row[tier]))


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
        (lambda d: d["stitches"][0].update(macs=10**400), "than the maximum of 92233720368547"),
        (lambda d: d["stitches"][0].update(params=2**63), "stitches[0].params"),
        (lambda d: d["anchors"][0].update(macs=10**400), "anchors[0].macs"),
        (lambda d: d["anchors"][0].update(params=10**400), "anchors[0].params"),
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
    assert len(str(caught.value)) < 300 + len(str(path))


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
    Draft202012Validator.check_schema(schema("klas-comparison"))
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
        (lambda d: d.update(format="klas-scores"), "no klas-comparison file"),
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


def test_a_stitch_layer_runs_on_the_smaller_grid_or_along_a_sequence():
    small = {"channels": 6, "grid": [2, 2], "prefix": 0, "form": "NCHW"}
    large = {"channels": 4, "grid": [4, 4], "prefix": 1, "form": "NLC"}
    assert stitch_layer_entry(small, large) == {"in": 6, "out": 4, "grid": [2, 2], "prefix": 1}
    text = {"channels": 6, "grid": [], "prefix": 0, "form": "NLC"}
    assert stitch_layer_entry(text, text) == {"in": 6, "out": 6, "grid": [], "prefix": 0}
