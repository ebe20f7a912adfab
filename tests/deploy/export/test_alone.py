"""An exported file with nothing but onnxruntime and Pillow: the lines in the README do it."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from klas.deploy.export.export import export
from tests.deploy.export.stitches import CLASSES, stitched

README = (Path(__file__).parents[3] / "README.md").read_text()
LINES = re.search(r"```python\n(import json, sys.*?)```", README, re.DOTALL)[1]


@pytest.fixture(scope="module", params=[(0.9, "bicubic"), (1.0, "bilinear")])
def exported(request, tmp_path_factory):
    """A network with that geometry, and its file."""
    network = stitched("resnet", 2, "vit", 1)
    source, target = network.anchors
    crop, interpolation = request.param
    transform = source["transform"] | {"crop": crop, "interpolation": interpolation}
    network.anchors = (source | {"transform": transform}, target)
    path = tmp_path_factory.mktemp("alone") / "n.onnx"
    export(network, "onnx", path)
    return network, path


def picture(folder, seed, size):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 5, size[0] // 5, 3))
    path = folder / f"{seed}.png"
    Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST).save(path)
    return path


def answer(network, path):
    with torch.no_grad():
        logits = network(network.prepare(Image.open(path))[None])
    return CLASSES[int(logits.argmax())]


@pytest.mark.parametrize(("seed", "size"), [(0, (50, 70)), (1, (200, 35)), (2, (20, 25))])
def test_the_lines_prepare_a_picture_as_the_network_does(
    exported, tmp_path, monkeypatch, capsys, seed, size
):
    network, path = exported
    file = picture(tmp_path, seed, size)
    monkeypatch.setattr(sys, "argv", ["classify.py", str(path), str(file)])
    known = {}
    exec(LINES, known)
    want = network.prepare(Image.open(file))
    assert np.abs(known["pixels"] - want.numpy()).max() <= 1e-6
    assert capsys.readouterr().out.strip() == answer(network, file)


@pytest.mark.slow
def test_a_file_runs_where_there_is_only_onnxruntime_and_pillow(exported, tmp_path):
    network, path = exported
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    # What lies in the environment counts, and nothing that this process was told to import from.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*arguments):
        return subprocess.run([python, *arguments], capture_output=True, text=True, env=clean)

    installed = run("-m", "pip", "install", "-q", "onnxruntime", "pillow")
    if installed.returncode:
        pytest.skip(f"needs a package index: {installed.stderr.strip().splitlines()[-1]}")
    there = run("-m", "pip", "list", "--format=freeze").stdout.lower()
    assert "onnxruntime" in there
    assert not re.search(r"^(torch|timm|klas|onnx|onnxscript)=", there, re.MULTILINE)
    (tmp_path / "classify.py").write_text(LINES)
    for seed in range(3):
        file = picture(tmp_path, seed, (60, 45))
        done = run(tmp_path / "classify.py", path, file)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == answer(network, file)
