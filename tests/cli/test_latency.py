"""``klas latency``."""

import json

import torch

from klas.pipeline.recipes.latency import device_name
from klas.results.pair import pairs_of


def test_it_times_a_pair_and_says_where(klas, study, computed):
    pair = min(pairs_of(computed[1]), key=lambda p: len(p.macs))
    command = ("latency", study, "--device", "cpu", "--pair", *pair.names)
    done = klas(*command, "--json")
    assert done.returncode == 0, done.stderr
    (timed,) = json.loads(done.stdout)["latency"]
    assert (timed["source"], timed["target"]) == pair.names
    assert set(timed["stitches"]) == {f"{i}-{j}" for i, j in pair.stitches}
    shown = klas(*command).stdout
    assert "one forward pass, batch 1" in shown
    assert all(f"{i} → {j}" in shown for i, j in pair.stitches)
    assert device_name(torch.device("cpu")) in " ".join(shown.split())
