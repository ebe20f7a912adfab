"""``klas finetune`` and ``klas compare``."""

import json
import subprocess
import sys

import pytest

from klas.results.comparison_view import entry_of
from klas.results.formats import read
from klas.study import change
from tests.conftest import SMALL


def test_compare_writes_its_form_the_same_twice_without_torch(klas, study, tmp_path):
    done = klas("compare", study, "--out", "a.json")
    assert done.returncode == 0, done.stderr
    assert "All pairs" in done.stdout
    assert "klas finetune --compare" in done.stdout  # of what is not there yet
    printed = subprocess.run(  # every import goes to standard error
        [sys.executable, "-X", "importtime", "-m", "klas", "compare", study, "--out", "b.json",
         "--json"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert printed.returncode == 0
    loaded = {line.split("|")[-1].strip() for line in printed.stderr.splitlines()}
    assert "klas.results.comparison" in loaded
    assert not loaded & {"torch", "timm", "torchvision"}
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    document = read(tmp_path / "a.json", "klas-comparison")
    assert json.loads(printed.stdout) == document
    assert [p["source"] for p in document["pairs"]] == [
        "digits_vit_tiny", "digits_vit_tiny", "digits_vit_tiny",
        "digits_vit_small", "digits_vit_small", "digits_convnet",
    ]  # fmt: skip


def test_compare_chooses_as_it_is_told(klas, study):
    done = klas("compare", study, "--tau", 0.6, "--buckets", 2, "--json")
    selection = json.loads(done.stdout)["study"]["selection"]
    assert (selection["tau"], selection["buckets"]) == (0.6, 2)


def test_compare_takes_one_pair_alone(klas, study, tmp_path):
    done = klas(
        "compare", study, "--pair", "digits_vit_tiny", "digits_vit_base", "--out", "p.json"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = read(tmp_path / "p.json", "klas-comparison")
    every = json.loads(klas("compare", study, "--json").stdout)
    assert alone["pairs"] == [entry_of(every, ("digits_vit_tiny", "digits_vit_base"))]
    for metric, method in alone["all_pairs"]["methods"].items():
        own = alone["pairs"][0]["methods"][metric]["spearman_within"]
        assert method["spearman_within"] == (own and own | {"pairs": 1})
    # What the figures rest on, and the greatest of what KLAS gains, are said too.
    assert "All pairs" not in done.stdout  # the one again
    for column in ("candidates", "greatest gain", "greatest saving", "area_top1"):
        assert column in done.stdout


def test_a_comparison_is_of_every_metric(klas, study):
    refused = klas("compare", study, "--metric", "cka")
    assert (refused.returncode, "--metric" in refused.stderr) == (2, True)
    refused = klas("finetune", study, "--compare", "--metric", "cka")
    assert refused.returncode == 1
    assert "--metric" in refused.stderr.splitlines()[-1]


@pytest.mark.slow
def test_finetune_compare_trains_every_method_once(klas, tmp_path):
    path = tmp_path / "short.toml"
    path.write_text(change(SMALL, "finetuning", steps=1).to_toml())
    pair = ("--pair", "digits_vit_tiny", "digits_vit_small")
    done = klas("finetune", path, "--compare", *pair, "--json")
    assert done.returncode == 0, done.stderr
    assert "trainings, about" in done.stderr  # said beforehand
    document = json.loads(done.stdout)
    (tmp_path / "c.json").write_text(done.stdout)
    assert read(tmp_path / "c.json", "klas-comparison") == document
    for metric, method in document["pairs"][0]["methods"].items():
        assert method["finetuned"]["mean_top1"] is not None, metric
        assert set(method["budgets"]) == {"0", "1"}
        assert method["budgets"]["0"] is not None
    assert document["pairs"][1]["methods"]["kl"]["finetuned"] is None
    assert json.loads(klas("compare", path, "--json").stdout) == document
    tables = klas("compare", path).stdout
    assert "All pairs" in tables
    assert "klas finetune --compare" not in tables


def test_compare_before_anything_is_computed_says_what_to_run(klas, study, tmp_path):
    done = klas("compare", study, "--out", "c.json", cache=tmp_path / "empty")
    assert done.returncode == 1
    assert done.stderr == "klas: study small: nothing is computed yet; run `klas run`\n"
    assert not (tmp_path / "c.json").exists()


@pytest.mark.slow
def test_compare_before_the_oracle_says_what_to_run(klas, tmp_path, computed):
    path = tmp_path / "five.toml"
    path.write_text(change(SMALL, "tuning", steps=5).to_toml())
    assert klas("run", path, "--until", "zero_shot").returncode == 0
    done = klas("compare", path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("run `klas run --until tuned`")
