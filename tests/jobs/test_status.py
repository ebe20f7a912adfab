"""The status file: what a worker writes, what earlier versions wrote, what strangers leave."""

import json
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given

from klas.errors import StoreError
from klas.jobs.status import EstimateAnswer, ExportAnswer, Status, StatusFile, read_status
from klas.results.formatting import duration, size
from tests.jobs.odd_files import odd

WRITTEN = {
    "state": "running",
    "pid": 42,
    "started": 1.7e9,
    "updated": 1.7e9 + 5,
    "began": 1.7e9 + 1,
    "stages": [{"stage": "anchors", "unit": "images", "done": 5, "total": 10, "seconds": 2.5}],
    "label": "digits_vit_tiny",
    "rate": 2.0,
    "seconds_left": 2.5,
    "device": "cpu",
    "memory_bytes": 1000,
    "device_bytes": 0,
    "error": "",
    "stopping": False,
    "answer": {"beside_other_work": False, "trainings": 3, "seconds": 4.5},
}
"""As earlier versions wrote it."""


@pytest.fixture
def kept(store):
    """A status file in a job's folder, and how to read it."""
    folder = store.root / "jobs" / "0123"
    folder.mkdir()
    return StatusFile(folder, store, 1.7e9), lambda: read_status(folder / "status.json")


def test_what_earlier_versions_wrote_is_read_and_written_alike(tmp_path):
    (tmp_path / "status.json").write_text(json.dumps(WRITTEN))
    status = read_status(tmp_path / "status.json")
    assert status.alive
    assert status.stages[0].done == 5
    assert status.answer == EstimateAnswer(seconds=4.5, trainings=3)
    assert json.loads(status.to_bytes()) == WRITTEN | {"workers": 1}


def test_what_was_exported_is_read_back(tmp_path):
    answer = ExportAnswer(
        difference=1e-6, milliseconds=0.5, machine="m", macs=10, params=5, python=("import klas",)
    )
    status = Status(state="done", pid=1, started=1.0, updated=2.0, answer=answer)
    (tmp_path / "status.json").write_bytes(status.to_bytes())
    assert read_status(tmp_path / "status.json").answer == answer


def test_a_newer_file_may_say_more_but_a_state_that_is_unknown_says_nothing(tmp_path):
    path = tmp_path / "status.json"
    path.write_text(json.dumps(WRITTEN | {"host": "another"}))
    assert read_status(path).label == "digits_vit_tiny"
    path.write_text(json.dumps(WRITTEN | {"state": "paused"}))
    assert read_status(path) is None


@pytest.mark.parametrize("pid", [-1, -42, 2**31, "1", True])
def test_a_process_number_that_would_signal_others_is_not_believed(tmp_path, pid):
    path = tmp_path / "status.json"
    path.write_text(json.dumps(WRITTEN | {"pid": pid}))
    assert read_status(path) is None


@given(odd(WRITTEN))
def test_no_file_raises_and_what_is_read_can_be_shown(content):
    with TemporaryDirectory() as folder:
        (Path(folder) / "status.json").write_bytes(content)
        status = read_status(Path(folder) / "status.json")
    if status is not None:
        assert datetime.fromtimestamp(status.updated)
        assert size(status.memory_bytes)
        assert duration(status.seconds_left or 0)
        assert all(stage.done / (stage.total or 1) >= 0 for stage in status.stages)
        assert status.to_bytes()


def test_a_worker_keeps_its_progress(kept):
    file, read = kept
    file.write("queued")
    assert read().state == "queued"
    assert read().began is None
    file.begin()
    file.start("anchors", "images", 10)
    file.advance(4)
    file.label("digits_vit_tiny")
    status = read()
    assert status.state == "running"
    assert [(s.stage, s.done, s.total) for s in status.stages] == [("anchors", 4, 10)]
    assert status.rate == pytest.approx(4 / status.stages[0].seconds)
    assert status.seconds_left == pytest.approx(6 / status.rate)
    assert status.started == 1.7e9 < status.began <= status.updated
    file.advance(8)  # more than was promised
    file.write("failed", "a path that is no text: \udcff")
    status = read()
    assert status.seconds_left == 0
    assert status.error == "a path that is no text: ?"


def test_a_worker_goes_on_when_its_status_cannot_be_written(kept, store, monkeypatch, capsys):
    def full(path, data):
        raise StoreError(f"{path}: cannot be written (No space left on device)")

    file, _ = kept
    monkeypatch.setattr(store, "write_file", full)
    file.start("anchors", "images", 10)
    file.write("failed", "the disk is full")
    assert "the disk is full" in capsys.readouterr().err  # the log, which a dead job shows
