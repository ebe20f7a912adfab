"""What job.json may hold, and what is read of it."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given

from klas.jobs.kinds import EstimateJob, RunJob
from klas.jobs.submission import Submission, job_id, read_submission
from klas.study import EngineSpec
from tests.conftest import SMALL
from tests.jobs.odd_files import odd

ASKED = {
    "study": SMALL.model_dump(mode="json"),
    "task": {"kind": "run", "until": "tuned"},
    "submitted": 1.7e9,
    "device": "auto",
}
"""As earlier versions wrote it."""


def test_what_earlier_versions_wrote_is_read_and_written_alike(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(ASKED))
    submission = read_submission(tmp_path)
    assert submission.spec == RunJob(until="tuned")
    assert submission.study_name == "small"
    assert json.loads(submission.model_dump_json()) == ASKED


def test_a_newer_file_may_say_more(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(ASKED | {"engine": "ray"}))
    assert read_submission(tmp_path).spec == RunJob(until="tuned")


@pytest.mark.parametrize("then", [-1, 1e12, float("nan"), "now", None])
def test_a_time_that_no_page_can_show_is_no_submission(tmp_path, then):
    (tmp_path / "job.json").write_text(json.dumps(ASKED | {"submitted": then}))
    assert read_submission(tmp_path) is None


@given(odd(ASKED))
def test_no_file_raises(content):
    with TemporaryDirectory() as folder:
        (Path(folder) / "job.json").write_bytes(content)
        submission = read_submission(Path(folder))
    if submission is not None:
        assert isinstance(submission.spec.kind, str)
        assert isinstance(submission.study_name, str | None)
        assert isinstance(Submission.model_validate_json(submission.model_dump_json()), Submission)


def test_a_job_is_the_same_by_whatever_engine_but_its_estimate_is_not():
    by_ray = SMALL.model_copy(update={"engine": EngineSpec(name="ray", address="head:6379")})
    run = RunJob(until="tuned")
    assert job_id(by_ray, run) == job_id(SMALL, run)
    assert job_id(by_ray, EstimateJob(of=run)) != job_id(SMALL, EstimateJob(of=run))
