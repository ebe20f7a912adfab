"""Several processes against one: the same weights, and the same sentence."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from klas.deploy.training.ranks import joined
from klas.errors import KlasError
from tests.deploy.training import trainings
from tests.deploy.training.trainings import (
    PLAIN,
    RICH,
    KilledError,
    differ,
    trained,
    without_key_biases,
)

pytestmark = pytest.mark.slow

LONG = {"steps": 20, "batch": 16, "checkpoint_seconds": 0.0}
ROOT = Path(__file__).parents[3]


def processes(count, folder, recipe, stitches="VITS", **orders):
    """How each of some processes that train together ended: its status and what it said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    orders |= {
        "recipe": recipe.model_dump(mode="json"),
        "folder": str(folder),
        "stitches": stitches,
    }
    command = [sys.executable, "-m", "tests.deploy.training.trainings", json.dumps(orders)]
    around = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | around | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    return [(process.returncode, words) for process, words in zip(started, said)]


def weights(folder, rank=0):
    return torch.load(folder / f"rank{rank}.pt", weights_only=True)


@pytest.mark.parametrize("recipe", [PLAIN, RICH], ids=["plain", "rich"])
def test_two_processes_give_the_weights_of_one(tmp_path, recipe):
    recipe = recipe.model_copy(update=LONG)
    (both := tmp_path / "both").mkdir()
    assert [status for status, _ in processes(2, both, recipe)] == [0, 0]
    alone = trained(recipe, tmp_path)
    assert differ(*map(without_key_biases, (alone, weights(both)))) < 1e-5
    assert differ(weights(both), weights(both, rank=1)) == 0
    # One process writes.
    assert len((both / "log.csv").read_text().splitlines()) == 21


def test_by_plain_descent_every_weight_is_that_of_one_process(tmp_path):
    """AdamW makes much of gradients that are rounding alone; without it all weights agree."""
    recipe = PLAIN.model_copy(update=LONG | {"opt": "sgd", "lr": 1e-2})
    (both := tmp_path / "both").mkdir()
    processes(2, both, recipe)
    alone = trained(recipe, tmp_path)
    assert differ(alone, weights(both)) < 1e-5


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2), (2, 2)])
def test_killed_and_resumed_on_any_number_it_gives_the_weights_of_one(tmp_path, first, then):
    recipe = RICH.model_copy(update=LONG)
    straight = trained(recipe, tmp_path)
    (folder := tmp_path / "killed").mkdir()
    if first == 1:
        with pytest.raises(KilledError):
            trained(recipe, folder, until=7)
    else:
        assert [status for status, _ in processes(2, folder, recipe, until=7)] == [9, 9]
    after = trained(recipe, folder) if then == 1 else None
    if after is None:
        assert [status for status, _ in processes(2, folder, recipe)] == [0, 0]
        after = weights(folder)
    assert differ(*map(without_key_biases, (straight, after))) < 1e-5


def test_where_layers_normalise_over_a_batch_each_process_has_its_own(tmp_path):
    """As one process that takes the batch in two parts: that is what there is on CPUs."""
    recipe = PLAIN.model_copy(update=LONG | {"opt": "sgd", "lr": 1e-2})
    (both := tmp_path / "both").mkdir()
    processes(2, both, recipe, "WITH_CONVNET")
    parts = trained(recipe.model_copy(update={"accumulate": 2}), tmp_path, trainings.WITH_CONVNET)
    assert differ(parts, weights(both)) < 1e-5


def test_processes_that_see_other_images_are_all_told_so(tmp_path):
    ended = processes(2, tmp_path, PLAIN, facts=["aaa", "bbb"])
    sentence = "process 1 has other training images than process 0 (bbb, not aaa)"
    for status, words in ended:
        assert status != 0
        assert sentence in words.splitlines()[-1]


@pytest.mark.parametrize(("around", "words"), [
    ({"WORLD_SIZE": "2"}, "LOCAL_RANK is not set; start them by torchrun"),
    ({"WORLD_SIZE": "many"}, "WORLD_SIZE = 'many': is no whole number"),
    ({"WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "the 2 processes cannot be joined (ValueError"),
])  # fmt: skip
def test_what_something_else_than_torchrun_started_is_refused_in_a_sentence(
    monkeypatch, around, words
):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in around.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KlasError) as caught, joined("cpu"):
        pass
    assert words in str(caught.value)
