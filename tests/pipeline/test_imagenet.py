"""The whole pipeline on folders shaped like ImageNet, with small networks of 1,000 classes.

Random weights and pictures of noise: what is shown is that every kind of network goes through
every stage, that memory doesn't grow with the samples, and that classes are matched.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageNetInfo

from klas.pipeline.run import Pipeline
from klas.study import parse_study

pytestmark = pytest.mark.slow

# Tokens in a row, maps with channels last and first, and two sizes of image.
MODELS = {
    "vit": "test_vit",
    "deit": "deit_tiny_patch16_224",
    "mambaout": "test_mambaout",
    "resnet": "test_resnet",
}
BLOCKS = {"vit": 6, "deit": 12, "mambaout": 6, "resnet": 4}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The folder with the networks' checkpoints."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, model in MODELS.items():
        save_file(timm.create_model(model).state_dict(), root / f"{name}.safetensors")
    return root


def pictures(root, classes, **counts):
    """Folders named by WordNet ids, with some pictures each in every split."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for name in ImageNetInfo().label_names()[:classes]:
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{k}.JPEG", quality=50)
    return root


def study(root, weights, *, names, samples, pairs="cheaper-first"):
    anchors = [
        {"name": n, "model": MODELS[n], "weights": str(weights / f"{n}.safetensors")} for n in names
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


def test_every_stage_runs_within_and_across_families(weights, store, tmp_path):
    root = pictures(tmp_path, 1000, train=2, val=1)
    few = study(root, weights, names=tuple(MODELS), samples=1)
    every = Pipeline(few, store, device="cpu").run("scores")
    assert {a["name"]: a["blocks"] for a in every["anchors"]} == BLOCKS
    assert all(a["columns"] is None for a in every["anchors"])  # all of ImageNet, in order
    assert len(every["pairs"]) == 6
    for pair in every["pairs"]:
        assert np.isfinite(pair["theta_output"])
        inside = [c for c in pair["candidates"] if c["in_space"]]
        assert len(inside) == BLOCKS[pair["source"]] * (BLOCKS[pair["target"]] - 1)
        assert all(c["scores"]["kl"] is not None for c in inside)
    # Every stitch of one pair across families; the features are in the store already.
    across = few.model_copy(update={"pairs": (("resnet", "mambaout"),)})
    document = Pipeline(across, store, device="cpu").run("tuned")
    (pair,) = document["pairs"]
    for candidate in pair["candidates"]:
        place, accuracy = (
            [candidate["source_block"], candidate["target_block"]],
            candidate["accuracy"],
        )
        assert 0 <= accuracy["zero_shot"] <= 1
        # A step on a single image may make a stitch worse; then it is named.
        assert (accuracy["tuned"] is None) == (place in pair["diverged"])
        assert accuracy["tuned"] is None or 0 <= accuracy["tuned"] <= 1


def peak_pages(study, folder, largest_batch):
    """The most memory of its own that a process holds that scores a study.

    Pages of libraries and mapped files don't count: how many are resident is the machine's affair.
    """
    file = folder / f"{study.data.val_samples}.toml"
    file.write_text(study.to_toml())
    script = f"""
import threading
from klas import Pipeline, Store, load_study
import klas.networks.batch_size
klas.networks.batch_size.LARGEST_BATCH = {largest_batch}
most, over = 0, threading.Event()
def watch():
    global most
    while not over.wait(0.005):
        with open("/proc/self/statm") as pages:
            _, resident, shared, *_ = map(int, pages.read().split())
        most = max(most, resident - shared)
watcher = threading.Thread(target=watch)
watcher.start()
with Store({str(folder / file.stem)!r}) as store:
    Pipeline(load_study({str(file)!r}), store, device="cpu").run("scores")
over.set()
watcher.join()
print(most)
"""
    # What is freed goes back at once, so that a peak is what was in use (of glibc's allocator).
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own counters")
def test_memory_stays_flat_when_the_samples_double(weights, tmp_path):
    # Small batches: even the fewer samples fill CKA's chunks and what loads ahead.
    root = pictures(tmp_path, 20, train=16, val=8)
    few, many = (
        peak_pages(study(root, weights, names=("vit", "resnet"), samples=n), tmp_path, 16)
        for n in (80, 160)
    )
    assert many < 1.02 * few
