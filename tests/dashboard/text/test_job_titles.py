"""What a job is called on the page."""

import pytest

from dashboard.text.job_titles import job_title
from klas.jobs.kinds import (
    CatalogueJob,
    CompareJob,
    EstimateJob,
    ExportJob,
    FinetuneJob,
    FullValJob,
    LatencyJob,
    PicturesJob,
    RunJob,
    TrainJob,
    read_spec,
)
from klas.recipe import TrainingSpec

PAIR = ("f", "g")
STITCHES = (("f", "g", 1, 2), ("f", "g", 2, 3))
RECIPE = TrainingSpec(steps=2000)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (RunJob(until="scores"), "Compute up to scores"),
        (FinetuneJob(pair=PAIR, metrics=("kl",)), "Train jointly: f → g"),
        (CompareJob(pairs=(PAIR,)), "Train every method jointly: f → g"),
        (CompareJob(pairs=(PAIR, PAIR)), "Train every method jointly: 2 pairs"),
        (FullValJob(pairs=(PAIR,), tier="tuned"), "Measure on every validation image: f → g"),
        (PicturesJob(pair=PAIR, place=(1, 2), tier="tuned"), "Pictures of 1 → 2: f → g"),
        (LatencyJob(pairs=(PAIR,)), "Measure latency: f → g"),
        (ExportJob(member="a_b", pair=None, tier=None, to="onnx"), r"Export a\_b to onnx"),
        (
            ExportJob(member="f:1-g:2", pair=PAIR, tier="tuned", to="timm", fused=True),
            r"Export f\:1\-g\:2 to timm, fused",
        ),
        (TrainJob(stitches=STITCHES, recipe=RECIPE), "Train 2 stitches for 2,000 steps"),
        (
            EstimateJob(of=TrainJob(stitches=(*STITCHES, ("g", "h", 0, 1)), recipe=RECIPE)),
            "Estimate: Train 3 stitches of 2 pairs for 2,000 steps",
        ),
        (EstimateJob(of=RunJob(until="tuned")), "Estimate: Compute up to tuned"),
        (CatalogueJob(), "Build the catalogue"),
        (read_spec({"kind": "merge"}), "Made by a newer klas: merge"),
        (read_spec({"kind": "[x](y) $z$"}), r"Made by a newer klas: \[x\]\(y\) \$z\$"),
    ],
)
def test_a_job_is_called_what_it_does(spec, expected):
    assert job_title(spec) == expected
