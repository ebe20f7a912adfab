"""What the README promises of the built-in study: stitches above both anchors, for real.

``klas finetune`` makes the README's table in 2,000 steps a pair. A tenth of the images shown to
three stitches that leave the source for the target's second block are enough to rise above.
"""

import numpy as np
import pytest

from klas.pipeline.run import Pipeline
from klas.results.pair import pairs_of
from klas.study import DIGITS, FinetuningSpec

PAIR = ("digits_vit_small", "digits_vit_base")
STITCHES = ((1, 1), (2, 1), (3, 1))

STUDY = DIGITS.model_copy(
    update={
        "anchors": tuple(a for a in DIGITS.anchors if a.name in PAIR),
        "data": DIGITS.data.model_copy(
            update={"train_samples": 1000, "val_samples": 1000, "test_samples": 200}
        ),
        "finetuning": FinetuningSpec(steps=300, batch=64, lr=3e-3),
    }
)


@pytest.mark.slow
def test_stitches_trained_jointly_lie_above_both_anchors(store):
    pipeline = Pipeline(STUDY, store, device="cpu")
    (pair,) = pairs_of(pipeline.run("scores"))
    chosen = np.array([tuple(stitch) in STITCHES for stitch in pair.stitches])
    cheap, costly = pair.measured_anchors
    assert all(cheap["macs"] < macs < costly["macs"] for macs in pair.macs[chosen])
    accuracy = pipeline.finetune(pair, chosen)["accuracy"]
    assert set(accuracy) == {"1-1", "2-1", "3-1"}
    assert min(accuracy.values()) > cheap["accuracy"] + 0.01
