import copy
import io
import json

import numpy as np
import pandas as pd
import pytest

from klas.results.formats import dumps, parse, read, write
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.results.stitch_list import as_csv, stitch_layer_entry, stitch_list
from klas.study import SelectionSpec
from tests.conftest import SMALL


@pytest.fixture
def stitches(computed):
    return stitch_list(computed[1], SMALL.selection)


def test_infinite_scores_are_written_as_a_word(computed):
    document = copy.deepcopy(computed[1])
    document["pairs"][0]["candidates"][0]["scores"]["kl"] = "inf"
    parse(dumps(document), "scores", "klas-scores")
    chosen = stitch_list(document, SMALL.selection)["stitches"]
    first = document["pairs"][0]["candidates"][0]
    assert (first["source_block"], first["target_block"]) not in {
        (s["source_block"], s["target_block"])
        for s in chosen
        if s["target"] == document["pairs"][0]["target"]
    }


def test_a_stitch_of_infinite_score_that_was_picked_by_hand_is_read_back(computed):
    document = copy.deepcopy(computed[1])
    document["pairs"][0]["candidates"][0]["scores"]["kl"] = "inf"
    pair = pairs_of(document)[0]
    picked = np.arange(len(pair.macs)) == 0
    made = stitch_list(document, SMALL.selection, pairs=[pair], by_hand=[picked])
    assert [s["score"] for s in made["stitches"]] == ["inf"]
    assert parse(dumps(made), "list", "klas-stitches") == json.loads(dumps(made))
    assert as_csv(made).decode().splitlines()[1].split(",")[7] == "inf"


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
    listed = read(tmp_path / "s.json", "klas-stitches")
    assert listed["selection"]["edited"] is True
    for pair, mask in zip(pairs, picked):
        rule = choose(pair, SMALL.selection)
        entries = [s for s in listed["stitches"] if (s["source"], s["target"]) == pair.names]
        assert {(s["source_block"], s["target_block"]) for s in entries} == set(pair.places(mask))
        for entry in entries:
            row = pair.places(mask | ~mask).index((entry["source_block"], entry["target_block"]))
            assert entry["score"] == pair.scores("kl")[row]
            assert entry["bucket"] == (rule.bucket[row] if rule.bucket[row] >= 0 else None)


def test_the_table_says_what_the_list_says(stitches):
    table = pd.read_csv(io.BytesIO(as_csv(stitches)))
    assert len(table) == len(stitches["stitches"]) > 0
    for row, stitch in zip(table.to_dict("records"), stitches["stitches"]):
        for name in ("source", "source_block", "target", "target_block", "macs", "params"):
            assert row[name] == stitch[name]
        assert row["score"] == stitch["score"]
        for tier, value in stitch["accuracy"].items():
            assert row[tier] == value or (value is None and np.isnan(row[tier]))


def test_a_stitch_layer_runs_on_the_smaller_grid_or_along_a_sequence():
    small = {"channels": 6, "grid": [2, 2], "prefix": 0, "form": "NCHW"}
    large = {"channels": 4, "grid": [4, 4], "prefix": 1, "form": "NLC"}
    assert stitch_layer_entry(small, large) == {"in": 6, "out": 4, "grid": [2, 2], "prefix": 1}
    text = {"channels": 6, "grid": [], "prefix": 0, "form": "NLC"}
    assert stitch_layer_entry(text, text) == {"in": 6, "out": 6, "grid": [], "prefix": 0}
