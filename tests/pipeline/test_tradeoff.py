"""What the README promises of the built-in study: stitches above both anchors, for real.

Slow: about two minutes on two cores, because it trains what a user would train. One pair stands
for the README's table.
"""

import json
import os
import subprocess
import sys

from klas.study import DIGITS

PAIR = ("digits_vit_small", "digits_vit_base")


def test_at_least_four_finetuned_stitches_lie_above_the_anchors(tmp_path):
    environment = os.environ | {"KLAS_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "klas", "finetune", "--pair", *PAIR, "--json"],
        env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (result,) = json.loads(done.stdout)["finetuned"]
    shown = subprocess.run(
        [sys.executable, "-m", "klas", "select", "--pair", *PAIR, "--json"],
        env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    listed = json.loads(shown.stdout)
    anchors = {a["name"]: a for a in listed["anchors"]}
    cheap, costly = (anchors[name] for name in PAIR)
    above = [
        s
        for s in listed["stitches"]
        if s["accuracy"]["finetuned"]
        > (cheap if s["macs"] < costly["macs"] else costly)["accuracy"]
    ]
    assert result["steps"] == DIGITS.finetuning.steps
    assert len(above) >= 4
