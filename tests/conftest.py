"""Shared fixtures: a small study on the digits, computed once per session."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray

from klas.results.comparison import compare
from klas.results.pair import Pair
from klas.results.selections import choose, own_or_fair_share
from klas.selection.curves import Envelope, envelope
from klas.storage.store import Store
from klas.study import (
    DIGITS,
    EngineSpec,
    FinetuningSpec,
    FitSpec,
    Metric,
    SelectionSpec,
    Study,
    TuningSpec,
)

# Tests run side by side. Processes with as many threads as cores would stall each other, also
# those that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

# A deadline would time the machine, not the code.
settings.register_profile("klas", deadline=None)
settings.load_profile("klas")

SMALL = DIGITS.model_copy(
    update={
        "name": "small",
        "data": DIGITS.data.model_copy(
            update={"train_samples": 600, "val_samples": 300, "test_samples": 200}
        ),
        "fit": FitSpec(samples=40),
        "tuning": TuningSpec(steps=4, batch=32),
        "finetuning": FinetuningSpec(steps=12, batch=32),
        "selection": DIGITS.selection.model_copy(update={"buckets": 4}),
        "engine": EngineSpec(name="here"),  # whatever the machine's load makes of it
    }
)
"""The digits study with few samples and steps: every stage in seconds, nothing to conclude."""


def method_envelope(
    pair: Pair, chosen: NDArray[np.bool_], accuracy: NDArray[np.float64]
) -> Envelope:
    """Of a method's stitches and the pair's pretrained anchors, said as plainly as can be."""
    anchors = pair.measured_anchors
    return envelope(
        np.append(pair.macs[chosen], [a["macs"] for a in anchors]),
        np.append(accuracy[chosen], [a["accuracy"] for a in anchors]),
    )


def method_choice(pair: Pair, spec: SelectionSpec, metric: Metric) -> NDArray[np.bool_]:
    """(N,) what a method chooses when it is compared; of a race, who starts."""
    ours = choose(pair, spec.model_copy(update={"metric": "kl"}))
    return own_or_fair_share(pair, ours, "kl", metric)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first: each goes to one process, the others fill the rest.

    Before them come those that compute in forks: autograd refuses to work in a fork of a process
    in which it has worked. Tests that take hours run only where they are asked for.
    """
    if "soak" not in config.option.markexpr:
        soaked = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if item not in soaked]
        config.hook.pytest_deselected(items=soaked)
    forking, slow = (
        {item.path for item in items if item.get_closest_marker(name)} for name in ("forks", "slow")
    )
    items.sort(key=lambda item: (item.path not in forking, item.path not in slow))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "cache")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def small() -> Study:
    return SMALL


@pytest.fixture(scope="session")
def _computed_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The small study computed through `tuned`: the store's folder, closed, and the document."""
    from klas.pipeline.run import Pipeline

    folder = tmp_path_factory.mktemp("computed")
    opened = Store(folder)
    document = Pipeline(SMALL, opened, device="cpu").run()
    opened.close()
    return folder, document


@pytest.fixture(scope="module")
def computed(
    _computed_once: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, dict[str, Any]]]:
    """A store in which the small study is computed, and its document; each file has a copy."""
    folder, document = _computed_once
    copy = tmp_path_factory.mktemp("copy") / "cache"
    shutil.copytree(folder, copy)
    opened = Store(copy)
    yield opened, document
    opened.close()


@pytest.fixture(scope="module")
def comparison(computed: tuple[Store, dict[str, Any]]) -> dict[str, Any]:
    """The methods compared on the small study; who changes it takes a copy."""
    store, document = computed
    return compare(document, SMALL, store)
