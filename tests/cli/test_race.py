"""A race at the command: before it is run, run, and taken away."""

import json
import re

import pytest

from klas.deploy.weights_file import ListWeights
from klas.results.formats import read
from klas.study import change
from tests.conftest import SMALL

PAIR = ("--pair", "digits_vit_tiny", "digits_vit_base")
pytestmark = pytest.mark.slow


@pytest.fixture
def racing(tmp_path):
    """The file of a study whose selection is a race."""
    path = tmp_path / "racing.toml"
    path.write_text(change(SMALL, "selection", metric="race").to_toml())
    return path


def test_before_a_race_every_command_says_how_to_run_it(klas, study, racing, tmp_path):
    for asked in (("select", study, "--metric", "race"), ("select", racing)):
        done = klas(*asked, *PAIR, "--out", "l.json")
        assert done.returncode == 1
        assert "run `klas finetune --metric race`" in done.stderr.splitlines()[-1]
        assert not (tmp_path / "l.json").exists()
    ran = klas("run", racing)
    assert ran.returncode == 0
    assert "stitches to start in a race" in ran.stdout
    assert "run `klas finetune --metric race`" in ran.stdout
    compared = klas("compare", racing)
    assert compared.returncode == 0
    assert "race" in compared.stdout


def test_a_race_is_run_shown_listed_and_delivered(klas, study, racing, tmp_path):
    done = klas("finetune", racing, *PAIR)
    assert done.returncode == 0, done.stderr
    assert "the race" in done.stdout
    again = klas("finetune", study, "--metric", "race", *PAIR, "--json")
    (result,) = json.loads(again.stdout)["finetuned"]
    assert "finetuned: cached" in again.stderr  # the same race, however it is asked for
    kept = result["accuracy"]
    assert 0 < len(kept) < len(result["rungs"][0]["accuracy"])

    for tier in ("finetuned", "tuned", "zero_shot"):
        listed = klas(
            "select", racing, *PAIR, "--out", "l.json", "--weights", "w.safetensors",
            "--tier", tier, "--full-val",
        )  # fmt: skip
        assert listed.returncode == 0, listed.stderr
        form = read(tmp_path / "l.json", "klas-stitches")
        shown = {
            f"{s['source_block']}-{s['target_block']}": s["accuracy"]["finetuned"]
            for s in form["stitches"]
        }
        assert shown == kept
        assert form["selection"]["metric"] == "race"
        assert all(s["full_val"]["tier"] == tier for s in form["stitches"])
        weights = ListWeights.read(tmp_path / "l.json", form["weights_file"])
        layers = re.findall(r"([0-9]+-[0-9]+)\.weight\n", "\n".join([*weights.tensors, ""]))
        assert {*layers} == kept.keys()
        checked = klas("check", "l.json")
        assert checked.returncode == 0, checked.stderr
        assert f"{len(kept)} stitches rebuilt as stated" in checked.stdout

    ran = klas("run", racing)
    assert f"{len(kept)} of " in ran.stdout
    assert "kept by a race" in ran.stdout
    entry = next(
        pair
        for pair in json.loads(klas("compare", study, "--json").stdout)["pairs"]
        if (pair["source"], pair["target"]) == PAIR[1:]
    )
    assert len(entry["chosen"]["race"]) == len(kept)
    assert entry["methods"]["race"]["budgets"]["12"]["mean_top1"] is not None
