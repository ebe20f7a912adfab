"""What jobs and their stages do, in a few words. Pure functions."""

from collections.abc import Sequence
from typing import assert_never

from dashboard.text.markup import plain
from klas.jobs.kinds import (
    CatalogueJob,
    CompareJob,
    EstimateJob,
    ExportJob,
    FinetuneJob,
    FullValJob,
    JobSpec,
    LatencyJob,
    PicturesJob,
    RunJob,
    Stitch,
    TrainJob,
    UnknownJob,
)
from klas.selection.space import PairNames

STAGE_ACTIVITY = {
    "catalogue": "Counting the cost of every pretrained network",
    "data": "Reading the chosen samples once",
    "full_val": "Measuring on every validation sample",
    "anchors": "Running the anchors on the validation samples",
    "features": "Collecting features for the probes",
    "probes": "Training a linear probe after every block",
    "scores": "Comparing the cuts: Θ, Γ and their rivals",
    "fit": "Fitting every stitch layer",
    "zero_shot": "Measuring every stitch",
    "tuned": "Tuning every stitch layer",
    "finetuned": "Training stitches and anchors jointly",
    "pictures": "Predicting the classes of a few images",
    "latency": "Timing every stitched network",
    "train": "Training all stitches and anchors of a list",
    "measure": "Measuring every member of the trained network",
}


def job_title(spec: JobSpec | UnknownJob) -> str:
    """What a job does."""
    match spec:
        case RunJob(until=stage):
            return f"Compute up to {stage}"
        case FinetuneJob(pair=names):
            return f"Train jointly: {_pairs([names])}"
        case CompareJob(pairs=pairs):
            return f"Train every method jointly: {_pairs(pairs)}"
        case FullValJob(pairs=pairs):
            return f"Measure on every validation image: {_pairs(pairs)}"
        case PicturesJob(pair=names, place=(i, j)):
            return f"Pictures of {i} → {j}: {_pairs([names])}"
        case LatencyJob(pairs=pairs):
            return f"Measure latency: {_pairs(pairs)}"
        case TrainJob(stitches=stitches, recipe=recipe):
            return f"Train {stitches_of(stitches)} for {recipe.steps:,} steps"
        case ExportJob(member=member, to=to, fused=fused):
            return f"Export {plain(member)} to {to}{', fused' if fused else ''}"
        case EstimateJob(of=of):
            return f"Estimate: {job_title(of)}"
        case CatalogueJob():
            return "Build the catalogue"
        case UnknownJob(kind=kind):
            return f"Made by a newer klas: {plain(kind)}"
        case never:
            assert_never(never)


def stitches_of(stitches: Sequence[Stitch]) -> str:
    """How many stitches, and of how many pairs if of more than one."""
    count, pairs = len(stitches), len({(source, target) for source, target, *_ in stitches})
    many = f"{count} stitch{'es' * (count > 1)}"
    return many if pairs == 1 else f"{many} of {pairs} pairs"


def _pairs(pairs: Sequence[PairNames]) -> str:
    return " → ".join(pairs[0]) if len(pairs) == 1 else f"{len(pairs)} pairs"
