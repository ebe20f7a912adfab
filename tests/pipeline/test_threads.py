"""What the README promises of other numbers of threads: the same keys, and values within 1e-3."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from klas.storage.store import Store
from tests.conftest import SMALL

STUDY = SMALL.model_copy(update={"anchors": SMALL.anchors[:2]})


def computed_with(threads, folder):
    """The scores document of a process with so many threads, and the digests of its results."""
    (folder / "two.toml").write_text(STUDY.to_toml())
    cache, out = folder / f"cache{threads}", folder / f"scores{threads}.json"
    subprocess.run(
        [sys.executable, "-m", "klas", "scores", folder / "two.toml", "--out", out,
         "--engine", "here", "--device", "cpu", "--cache-dir", cache],
        env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
        check=True, capture_output=True,
    )  # fmt: skip
    with Store(cache) as store:
        return json.loads(out.read_bytes()), {entry.digest for entry in store.entries()}


@pytest.mark.slow
def test_another_number_of_threads_gives_the_same_within_what_is_promised(tmp_path):
    (one, keys), (two, keys_of_two) = (computed_with(n, tmp_path) for n in (1, 2))
    assert keys == keys_of_two
    for first, second in zip(one["anchors"], two["anchors"]):
        assert first["digest"] == second["digest"]
        assert first["accuracy"] == pytest.approx(second["accuracy"], abs=2 / 300)
        assert first["probe_accuracy"] == pytest.approx(second["probe_accuracy"], abs=2 / 300)
    for first, second in zip(one["pairs"], two["pairs"]):
        for name in ("theta", "theta_target"):
            np.testing.assert_allclose(first[name], second[name], rtol=1e-3, atol=1e-6)
        for mine, other in zip(first["candidates"], second["candidates"]):
            for name in ("kl", "theta", "theta_ce", "ce", "mse"):
                assert mine["scores"][name] == pytest.approx(other["scores"][name], rel=1e-3)
