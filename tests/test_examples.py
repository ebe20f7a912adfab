"""The examples in the docstrings run, those of each module in an empty folder of its own."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import klas
from klas.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in (ROOT / "klas").rglob("*.py")
    if ">>> " in file.read_text()
)
# As few images as still give scores: the list is read for its form, not for its figures.
STUDY = """
name = "example"
anchors = ["digits_vit_tiny", "digits_vit_small"]
[data]
train = "klas/digits:train"
val = "klas/digits:val"
train_samples = 20
val_samples = 20
crop = 1.0
interpolation = "bilinear"
[fit]
samples = 20
"""


def write_networks(folder):
    """``stitches.json`` and ``trained``, which the examples of `klas.deploy` read."""
    study = folder / "study.toml"
    study.write_text(STUDY)
    common = [str(study), "--device", "cpu", "--cache-dir", str(folder / "cache")]
    for command in (
        ["run", *common, "--until", "scores"],
        ["select", *common, "--out", str(folder / "stitches.json")],
    ):
        with pytest.raises(SystemExit, match="0"):
            main(command)
    klas.elastic_of_list(folder / "stitches.json").save(folder / "trained")


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name in ("klas.deploy.load", "klas.deploy.elastic"):
        write_networks(tmp_path)
    assert doctest.testmod(import_module(name)).failed == 0
