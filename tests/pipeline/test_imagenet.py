"""The whole pipeline on a folder shaped like ImageNet, with networks of ImageNet's size.

Random weights and pictures of noise: what is shown is that it runs, what it costs, and that it
knows which class is which; the samples are as few as the processor's speed asks for.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageNetInfo

from klas.study import parse_study

MODELS = {
    "deit_tiny": "deit_tiny_patch16_224",
    "deit_small": "deit_small_patch16_224",
    "swin_tiny": "swin_tiny_patch4_window7_224",
    "resnet50": "resnet50",
}
SMALL = {"test_vit": "test_vit", "test_resnet": "test_resnet"}
ACROSS = [["resnet50", "swin_tiny"]]


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """1,000 folders named by WordNet ids, 3 pictures each, and the checkpoints of four networks."""
    root = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for split, count in (("train", 2), ("val", 1)):
        for name in ImageNetInfo().label_names():
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{k}.JPEG", quality=50)
    torch.manual_seed(0)
    for name, model in (MODELS | SMALL).items():
        save_file(timm.create_model(model).state_dict(), root / f"{name}.safetensors")
    return root


def study(root, *, names=tuple(MODELS), samples, pairs="cheaper-first"):
    anchors = [
        {"name": n, "model": (MODELS | SMALL)[n], "weights": str(root / f"{n}.safetensors")}
        for n in names
    ]
    raw = {
        "name": "imagenet",
        "anchors": anchors,
        "pairs": pairs,
        "data": {
            "train": str(root / "train"),
            "val": str(root / "val"),
            "train_samples": 2 * samples,
            "val_samples": samples,
        },
        "fit": {"samples": 2},
        "tuning": {"steps": 1, "batch": 1},
    }
    return parse_study(raw, "test")


def run(study, folder, until, largest_batch=256):
    """The scores document and the process's peak memory; a process of its own has its own peak."""
    file = folder / f"{study.data.val_samples}.toml"
    file.write_text(study.to_toml())
    script = (
        "import json, sys, klas.networks.batch_size; from klas import Pipeline, Store, load_study;"
        f"klas.networks.batch_size.LARGEST_BATCH = {largest_batch};"
        "from klas.memory import peak_memory_bytes;"
        f"store = Store({str(folder / file.stem)!r});"
        f"document = Pipeline(load_study({str(file)!r}), store, device='cpu').run({until!r});"
        "store.close();"
        "print(json.dumps([document, peak_memory_bytes()]))"
    )
    # What is freed goes back at once, so that a peak is what was in use (of glibc's allocator).
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_stage_runs_within_and_across_families(imagenet, tmp_path):
    every, _ = run(study(imagenet, samples=1), tmp_path, "scores")
    blocks = {a["name"]: a["blocks"] for a in every["anchors"]}
    assert blocks == {"deit_tiny": 12, "deit_small": 12, "swin_tiny": 12, "resnet50": 16}
    assert all(a["columns"] is None for a in every["anchors"])  # all of ImageNet, in order
    assert len(every["pairs"]) == 6
    for pair in every["pairs"]:
        assert np.isfinite(pair["theta_output"])
        depths = blocks[pair["source"]], blocks[pair["target"]]
        inside = [c for c in pair["candidates"] if c["in_space"]]
        assert len(inside) == depths[0] * (depths[1] - 1)
        assert all(c["scores"]["kl"] is not None for c in inside)
    # Every stitch of one pair across families; the features are in the store already.
    document, _ = run(study(imagenet, samples=1, pairs=ACROSS), tmp_path, "tuned")
    (pair,) = document["pairs"]
    for candidate in pair["candidates"]:
        assert all(0 <= candidate["accuracy"][t] <= 1 for t in ("zero_shot", "tuned"))


def test_memory_stays_flat_when_the_samples_double(imagenet, tmp_path):
    # Small networks and batches: even the fewer samples fill CKA's chunks and what loads ahead.
    names = ("test_vit", "test_resnet")
    few, many = (
        run(study(imagenet, names=names, samples=n), tmp_path, "scores", largest_batch=32)[1]
        for n in (192, 384)
    )
    assert many < 1.02 * few
