"""The kinds of job: what they are on disk, and what becomes of one that only a newer klas knows."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

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
    UnknownJob,
    read_spec,
)
from klas.jobs.submission import job_id
from klas.recipe import TrainingSpec
from klas.storage.key import canonical_json
from tests.conftest import SMALL
from tests.jobs.odd_files import JSON

PAIR = ("f", "g")
ON_DISK = [
    (RunJob(until="tuned"), {"kind": "run", "until": "tuned"}),
    (
        FinetuneJob(pair=PAIR, metrics=("kl", "snnet")),
        {"kind": "finetune", "pair": ["f", "g"], "metrics": ["kl", "snnet"]},
    ),
    (CompareJob(pairs=(PAIR,)), {"kind": "compare", "pairs": [["f", "g"]]}),
    (
        FullValJob(pairs=(PAIR, ("g", "f")), tier="finetuned"),
        {"kind": "full_val", "pairs": [["f", "g"], ["g", "f"]], "tier": "finetuned"},
    ),
    (
        PicturesJob(pair=PAIR, place=(1, 2), tier="tuned"),
        {
            "kind": "pictures",
            "pair": ["f", "g"],
            "place": [1, 2],
            "tier": "tuned",
            "trained": [],
            "racing": [],
        },
    ),
    (LatencyJob(pairs=(PAIR,)), {"kind": "latency", "pairs": [["f", "g"]]}),
    (
        ExportJob(
            member="f:1-g:2", pair=PAIR, tier="finetuned", trained=((1, 2),), racing=(0,), to="onnx"
        ),
        {
            "kind": "export",
            "member": "f:1-g:2",
            "pair": ["f", "g"],
            "tier": "finetuned",
            "trained": [[1, 2]],
            "racing": [0],
            "to": "onnx",
            "fused": False,
        },
    ),
    (
        EstimateJob(of=CompareJob(pairs=(PAIR,))),
        {"kind": "estimate", "of": {"kind": "compare", "pairs": [["f", "g"]]}},
    ),
    (
        TrainJob(stitches=(("f", "g", 1, 2),), recipe=TrainingSpec(steps=5)),
        {
            "kind": "train",
            "stitches": [["f", "g", 1, 2]],
            "recipe": TrainingSpec(steps=5).model_dump(mode="json"),
        },
    ),
    (CatalogueJob(), {"kind": "catalogue"}),
]
"""Every kind, and the JSON that earlier versions wrote for it."""
SETTINGS = "this job ({}) has settings that are unknown here; a newer klas may know them"


@pytest.mark.parametrize(("spec", "task"), ON_DISK)
def test_the_json_and_the_id_are_those_of_earlier_versions(spec, task):
    assert spec.model_dump(mode="json") == task
    assert read_spec(task) == spec
    # Earlier versions had no engines; only how long a job takes depends on one.
    study = SMALL.model_dump(mode="json") if task["kind"] == "estimate" else SMALL.content()
    asked = {"study": study, "task": task}
    assert job_id(SMALL, spec) == hashlib.sha256(canonical_json(asked).encode()).hexdigest()[:16]


def test_the_id_of_a_job_without_a_study_is_what_it_always_was():
    assert job_id(None, CatalogueJob()) == "9272d653fed6ec0f"


def test_a_job_cannot_be_changed_nor_made_of_what_is_not_known():
    with pytest.raises(ValidationError):
        RunJob(until="tuned").until = "scores"
    with pytest.raises(ValidationError):
        RunJob(until="merged")


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (
            {"kind": "merge"},
            "the kind of this job (merge) is unknown here; a newer klas may know it",
        ),
        ({"kind": 5}, "the kind of this job (5) is unknown here; a newer klas may know it"),
        ({}, "the kind of this job (None) is unknown here; a newer klas may know it"),
        ({"kind": "run"}, SETTINGS.format("run")),
        ({"kind": "run", "until": "merged"}, SETTINGS.format("run")),
        ({"kind": "run", "until": "tuned", "engine": "ray"}, SETTINGS.format("run")),
        ({"kind": "estimate", "of": {"kind": "merge"}}, SETTINGS.format("estimate")),
        ({"kind": "train", "stitches": [], "recipe": {}}, SETTINGS.format("train")),
        (
            {"kind": "train", "stitches": [["f", "g", 1, 2]], "recipe": {"epochs": 3}},
            SETTINGS.format("train"),
        ),
    ],
)
def test_what_only_a_newer_klas_knows_says_so(task, problem):
    spec = read_spec(task)
    assert isinstance(spec, UnknownJob)
    assert spec.problem == problem


@given(st.dictionaries(st.sampled_from(["kind", "until", "pair", "pairs", "of", "x"]), JSON))
def test_no_task_raises(task):
    assert isinstance(read_spec(task).kind, str)


@given(
    st.sampled_from(ON_DISK),
    st.sampled_from(["until", "pair", "pairs", "of", "tier", "stitches", "recipe"]),
    JSON,
)
def test_no_setting_of_a_known_kind_raises(known, setting, value):
    assert isinstance(read_spec(known[1] | {setting: value}).kind, str)
