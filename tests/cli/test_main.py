"""The command, run as a user runs it: a process, its streams and its exit status."""

import json
import os
import signal
import subprocess
import sys

import pytest

from klas.results.comparison_view import entry_of
from klas.results.formats import read
from klas.storage.store import Key, Store
from klas.study import change
from tests.conftest import SMALL
from tests.small_catalogue import put_catalogue

STUDY = SMALL.to_toml()


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def klas(computed, tmp_path):
    store, _ = computed

    def run(*arguments, cache=store.root, **options):
        environment = os.environ | {"KLAS_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-m", "klas", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=120,
            **options,
        )

    return run


def test_run_is_the_scores_document_twice_the_same(klas, study, computed):
    first, second = (klas("run", study, "--json") for _ in range(2))
    assert first.returncode == 0
    assert first.stdout == second.stdout
    assert json.loads(first.stdout) == json.loads(json.dumps(computed[1]))


def test_run_ends_with_tables_that_a_person_can_read(klas, study):
    done = klas("run", study)
    assert done.returncode == 0
    assert "Anchors" in done.stdout
    assert "digits_vit_tiny → digits_vit_base" in done.stdout
    assert "cached" in done.stderr
    assert "Traceback" not in done.stderr


def test_select_check_and_load_agree(klas, study, tmp_path):
    for name in ("a", "b"):
        done = klas(
            "select", study, "--tau", 0.1, "--out", f"{name}.json", "--weights", "w.safetensors"
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    stitches = read(tmp_path / "a.json", "klas-stitches")["stitches"]
    checked = klas("check", "a.json")
    assert checked.returncode == 0, checked.stderr
    assert f"{len(stitches)} stitches rebuilt as stated" in checked.stdout


def test_compare_writes_its_form_the_same_twice_without_torch(klas, study, tmp_path, monkeypatch):
    done = klas("compare", study, "--out", "a.json")
    assert done.returncode == 0, done.stderr
    assert "All pairs" in done.stdout
    assert "klas finetune --compare" in done.stdout  # of what is not there yet
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # every import, on standard error
    printed = klas("compare", study, "--out", "b.json", "--json")
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
    for words in ("candidates", "greatest gain", "greatest saving", "area_top1"):
        assert words in done.stdout


def test_a_comparison_is_of_every_metric(klas, study):
    refused = klas("compare", study, "--metric", "cka")
    assert (refused.returncode, "--metric" in refused.stderr) == (2, True)
    refused = klas("finetune", study, "--compare", "--metric", "cka")
    assert refused.returncode == 1
    assert "--metric" in refused.stderr.splitlines()[-1]


def test_finetune_compare_trains_every_method_once(klas, tmp_path):
    path = tmp_path / "short.toml"
    path.write_text(change(SMALL, "finetuning", steps=1).to_toml())
    pair = ("--pair", "digits_vit_tiny", "digits_vit_small")
    done = klas("finetune", path, "--compare", *pair, "--json")
    assert done.returncode == 0, done.stderr
    assert "trainings, about" in done.stderr  # said beforehand
    found = json.loads(done.stdout)
    (tmp_path / "c.json").write_text(done.stdout)
    assert read(tmp_path / "c.json", "klas-comparison") == found
    for metric, method in found["pairs"][0]["methods"].items():
        assert method["finetuned"]["mean_top1"] is not None, metric
        assert set(method["budgets"]) == {"0", "1"}
        assert method["budgets"]["0"] is not None
    assert found["pairs"][1]["methods"]["kl"]["finetuned"] is None
    assert json.loads(klas("compare", path, "--json").stdout) == found
    tables = klas("compare", path).stdout
    assert "All pairs" in tables
    assert "klas finetune --compare" not in tables


def test_scores_and_anchors(klas, study, tmp_path):
    assert klas("scores", study, "--out", "s.json").returncode == 0
    assert read(tmp_path / "s.json", "klas-scores")["pairs"][0]["theta"] is not None
    ranked = json.loads(klas("anchors", study, "--json").stdout)
    assert [a["name"] for a in ranked["anchors"]] == [a.name for a in SMALL.anchors]


def test_study_show_reads_back_and_save_writes_it(klas, tmp_path):
    shown = klas("study", "show")
    (tmp_path / "shown.toml").write_text(shown.stdout)
    assert klas("study", "save", "shown.toml", "--out", "saved.toml").returncode == 0
    assert (tmp_path / "saved.toml").read_text() == shown.stdout


def test_cache_lists_verifies_and_clears(klas, study, tmp_path):
    cache = tmp_path / "own"
    assert klas("run", study, "--until", "anchors", cache=cache).returncode == 0
    assert "digits_vit_tiny: pass over" in klas("cache", "ls", cache=cache).stdout
    assert "0 damaged" in klas("cache", "verify", cache=cache).stdout
    next((cache / "objects").rglob("*.safetensors")).write_bytes(b"x")
    bad = klas("cache", "verify", cache=cache)
    assert bad.returncode == 1
    assert "1 damaged" in bad.stdout
    assert "freed" in klas("cache", "clear", cache=cache).stdout
    assert json.loads(klas("cache", "ls", "--json", cache=cache).stdout)["entries"] == []


def test_a_study_is_packed_here_and_looked_at_there(klas, study, tmp_path):
    packed = klas("cache", "pack", study, "--out", "small.klas")
    assert packed.returncode == 0, packed.stderr
    assert "wrote small.klas: study small" in packed.stdout
    other = tmp_path / "elsewhere"
    unpacked = json.loads(klas("cache", "unpack", "small.klas", "--json", cache=other).stdout)
    assert (unpacked["study"], unpacked["present"], unpacked["kept"]) == ("small", 0, 0)
    again = klas("cache", "unpack", "small.klas", cache=other)
    assert f"{unpacked['results']} were here already" in again.stdout
    assert f"its study file: {unpacked['study_file']}" in again.stdout
    here = klas("compare", study, "--json")
    there = klas("compare", unpacked["study_file"], "--json", cache=other)
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout

    listed = json.loads(klas("cache", "ls", "--json", cache=other).stdout)
    (small,) = (s for s in listed["studies"] if s["name"] == "small")
    assert small["bytes"] == small["freeable_bytes"] == unpacked["bytes"] == listed["bytes"]
    assert listed["unclaimed_bytes"] == 0
    assert "By study" in klas("cache", "ls", cache=other).stdout
    freed = klas("cache", "clear", "--study", "small", "--stage", "features", "--json", cache=other)
    assert json.loads(freed.stdout) == {"freed_bytes": small["stages"]["features"]}
    freed = klas("cache", "clear", "--study", study, cache=other)
    assert "freed" in freed.stdout
    assert json.loads(klas("cache", "ls", "--json", cache=other).stdout)["entries"] == []


def test_a_stage_is_cleared_alone_and_sharers_are_named(klas, study, tmp_path):
    cache = tmp_path / "own"
    store = Store(cache)
    for k, stage in enumerate(("features", "tuned")):
        key = Key(stage=stage, version=1, inputs={"k": k})
        store.put(key, [k])
    store.set_ref(f"used-{SMALL.results_key()}", [key.digest])
    store.close()
    cleared = klas("cache", "clear", "--stage", "features", cache=cache)
    assert cleared.stdout == "freed 3 B\n"
    (left,) = json.loads(klas("cache", "ls", "--json", cache=cache).stdout)["entries"]
    assert left["stage"] == "tuned"
    studies = cache / "studies"
    studies.mkdir()
    for name in ("one", "two"):
        text = SMALL.model_copy(update={"name": name}).to_toml()
        (studies / f"{name}.toml").write_text(text)
    cleared = klas("cache", "clear", "--study", "one", cache=cache)
    assert cleared.stdout == "freed 0 B\nwhat it shares with two stays\n"


@pytest.fixture
def catalogued(tmp_path):
    store = Store(tmp_path / "catalogued")
    put_catalogue(store)
    store.close()
    return tmp_path / "catalogued"


def test_the_catalogue_is_searched_by_text_family_and_cost(klas, catalogued):
    done = klas("catalogue", cache=catalogued)
    assert done.returncode == 0
    assert "4 of 4 pretrained networks" in done.stdout
    assert done.stdout.index("levit_128s") < done.stdout.index("swin_tiny")
    searches = [
        (["--search", "swin"], ["swin_tiny.ms_in1k"]),
        (["--gmacs", 0, 1], ["levit_128s.fb_dist_in1k"]),
        (["--family", "odd", "--family", "resnet"], ["odd.in1k", "resnet50.a1_in1k"]),
    ]
    for arguments, tags in searches:
        done = klas("catalogue", *arguments, "--json", cache=catalogued)
        assert [n["tag"] for n in json.loads(done.stdout)["networks"]] == tags
    done = klas("catalogue", "--family", "restnet", cache=catalogued)
    assert done.returncode == 1
    assert "the nearest are resnet" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run", "absent.toml"], 1, "absent.toml: cannot be read"),
        (["run", "--until", "lunch"], 2, "invalid choice"),
        (["select", "--tau", "-1", "--out", "o.json"], 1, "tau = -1"),
        (["select", "--buckets", "0", "--out", "o.json"], 1, "buckets = 0"),
        (["select", "--tau", "much"], 2, "invalid float"),
        (["select", "--pair", "x", "y", "--out", "o.json"], 1, "no such pair"),
        (["run", "--device", "abacus"], 1, "'abacus' is not available"),
        (["compare", "--tau", "-1"], 1, "tau = -1"),
        (["compare", "--pair", "x", "y"], 1, "no such pair; there are digits_vit_tiny → "),
        (["compare", "absent.toml"], 1, "absent.toml: cannot be read"),
        (["check", "absent.json"], 1, "absent.json: cannot be read"),
        (["study", "save"], 1, "--out"),
        (["cache"], 2, "ACTION"),
        (["cache", "pack", "absent", "--out", "x"], 1, "neither a study file nor a saved study"),
        (["cache", "pack", "digits", "--out", "x"], 1, "holds no results of it; run `klas run`"),
        (["cache", "unpack", "absent.klas"], 1, "absent.klas: cannot be read"),
        (["cache", "clear", "--study", "absent"], 1, "neither a study file nor a saved study"),
        (["select", "--weights", "w.safetensors"], 1, "name it with --out"),
        (["select", "--out", "o.json", "--weights", "/tmp/w.safetensors"], 1, "same folder"),
        (["dashboard", "absent.toml"], 1, "absent.toml: cannot be read"),
        ([], 2, "COMMAND"),
    ],
)
def test_a_refusal_is_one_line_and_a_status(klas, study, tmp_path, arguments, status, words):
    if arguments[:1] == ["select"] or "--pair" in arguments:
        arguments = [arguments[0], str(study), *arguments[1:]]
    done = klas(*arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o.json").exists()
    if status == 1:
        assert done.stderr.strip().splitlines()[-1].startswith("klas: ")


def test_select_of_a_tier_that_was_not_computed_says_what_to_run(klas, study, tmp_path):
    done = klas(
        "select", study, "--tau", 0.77, "--out", "o.json", "--weights", "w.safetensors",
        "--tier", "finetuned",
    )  # fmt: skip
    assert done.returncode == 1
    assert "klas finetune" in done.stderr
    assert list(tmp_path.glob("*.safetensors")) == []


def test_compare_before_anything_is_computed_says_what_to_run(klas, study, tmp_path):
    done = klas("compare", study, "--out", "c.json", cache=tmp_path / "empty")
    assert done.returncode == 1
    assert done.stderr == "klas: study small: nothing is computed yet; run `klas run`\n"
    assert not (tmp_path / "c.json").exists()


def test_compare_before_the_oracle_says_what_to_run(klas, tmp_path, computed):
    path = tmp_path / "five.toml"
    path.write_text(change(SMALL, "tuning", steps=5).to_toml())
    assert klas("run", path, "--until", "zero_shot").returncode == 0
    done = klas("compare", path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("run `klas run --until tuned`")


def test_ctrl_c_exits_130_and_the_next_run_goes_on(study, tmp_path):
    cache = tmp_path / "own"
    environment = os.environ | {"KLAS_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "klas", "run", str(study), "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        for line in process.stderr:
            if line.startswith("zero_shot"):  # the stage has begun
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "run it again to go on" in rest
    assert "Traceback" not in rest
    done = subprocess.run(
        [sys.executable, "-m", "klas", "run", str(study), "--json"],
        capture_output=True, text=True, env=environment, timeout=300, check=True,
    )  # fmt: skip
    assert "features: cached" in done.stderr
    assert "zero_shot: cached" not in done.stderr
    assert json.loads(done.stdout)["pairs"][0]["candidates"][0]["accuracy"]["tuned"] is not None
