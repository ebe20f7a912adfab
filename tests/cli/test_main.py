"""The command's exit statuses: in this process, and as a process that is run, stopped and left."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.conftest import SMALL


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
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
        (["latency", "--pair", "x", "y"], 1, "no such pair"),
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
def test_a_refusal_is_one_line_and_a_status(klas, study, tmp_path, arguments, status, reason):
    if arguments[:1] == ["select"] or "--pair" in arguments:
        arguments = [arguments[0], str(study), *arguments[1:]]
    done = klas(*arguments)
    assert done.returncode == status
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o.json").exists()
    if status == 1:
        assert done.stderr.strip().splitlines()[-1].startswith("klas: ")


def test_every_command_takes_a_device_a_cache_folder_and_json(klas):
    listed = klas("--help")
    assert listed.returncode == 0
    names = re.findall(r"^    ([a-z]+)", listed.stdout, re.MULTILINE)
    assert {"run", "select", "compare", "cache", "dashboard"} < set(names)
    actions = re.findall(r"^    ([a-z]+)", klas("cache", "--help").stdout, re.MULTILINE)
    commands = [[name] for name in names if name != "cache"] + [["cache", a] for a in actions]
    for command in commands:
        text = klas(*command, "--help").stdout
        assert all(option in text for option in ("--json", "--device", "--cache-dir")), command


def test_options_may_stand_anywhere_among_the_other_arguments(klas, study):
    """``klas train LIST --out DIR STUDY`` too: argparse alone has no place for the study there."""
    printed = set()
    for place in range(3):
        arguments = ["show", str(study)]
        arguments.insert(place, "--json")
        done = klas("study", *arguments)
        assert done.returncode == 0, done.stderr
        printed.add(done.stdout)
    assert len(printed) == 1
    assert "unrecognized arguments: again" in klas("study", "show", str(study), "again").stderr


def test_help_is_there_before_anything_that_takes_long_to_import():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "klas", "--help"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "klas.cli.main" in loaded
    assert not loaded & {"torch", "timm", "numpy", "rich", "jsonschema", "klas.storage.store"}


@pytest.mark.parametrize("arguments", [["study", "show"], ["cache", "ls", "--json"]])
def test_a_reader_who_leaves_ends_it_in_silence(tmp_path, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"KLAS_CACHE_DIR": str(tmp_path)}
    environment.pop("PYTHONUNBUFFERED", None)
    done = subprocess.run(
        [sys.executable, "-m", "klas", *arguments],
        stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, timeout=60,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.slow
def test_ctrl_c_exits_130_and_the_next_run_goes_on(tmp_path):
    study, cache = tmp_path / "two.toml", tmp_path / "own"
    study.write_text(SMALL.model_copy(update={"anchors": SMALL.anchors[:2]}).to_toml())
    environment = os.environ | {"KLAS_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "klas", "run", str(study), "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A shell that runs the tests in the background lets all that they start ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
