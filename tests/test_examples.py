"""The examples in the docstrings run, those of each module in an empty folder of its own."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

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


def write_stitch_list(folder):
    """``stitches.json``, which the examples of `klas.load_stitch` read."""
    study = folder / "study.toml"
    study.write_text(STUDY)
    common = [str(study), "--device", "cpu", "--cache-dir", str(folder / "cache")]
    for command in (
        ["run", *common, "--until", "scores"],
        ["select", *common, "--out", str(folder / "stitches.json")],
    ):
        with pytest.raises(SystemExit, match="0"):
            main(command)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "klas.deploy.load":
        write_stitch_list(tmp_path)
    assert doctest.testmod(import_module(name)).failed == 0
