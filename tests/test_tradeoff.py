"""What the README promises of the built-in study: stitches above both anchors, for real.

The one slow test: about four minutes on two cores, because it trains what a user would train.
"""

import json
import os
import subprocess
import sys

import pytest

from klas.study import DIGITS

PAIRS = [("digits_vit_tiny", "digits_vit_base"), ("digits_vit_small", "digits_vit_base")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("digits")


@pytest.mark.parametrize("pair", PAIRS, ids=" to ".join)
def test_at_least_four_finetuned_stitches_lie_above_the_anchors(cache, pair):
    done = subprocess.run(
        [sys.executable, "-m", "klas", "finetune", "--pair", *pair, "--json"],
        env=os.environ | {"KLAS_CACHE_DIR": str(cache)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (result,) = json.loads(done.stdout)["finetuned"]
    shown = subprocess.run(
        [sys.executable, "-m", "klas", "select", "--pair", *pair, "--json"],
        env=os.environ | {"KLAS_CACHE_DIR": str(cache)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    listed = json.loads(shown.stdout)
    anchors = {a["name"]: a for a in listed["anchors"]}
    cheap, costly = (anchors[name] for name in pair)
    above = [
        s
        for s in listed["stitches"]
        if s["accuracy"]["finetuned"]
        > (cheap if s["macs"] < costly["macs"] else costly)["accuracy"]
    ]
    assert result["steps"] == DIGITS.finetuning.steps
    assert len(above) >= 4
