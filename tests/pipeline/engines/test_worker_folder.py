"""A worker's folder: shared on a host, and gone with the last worker, however it ended."""

import subprocess
import sys

import pytest

from klas.errors import StoreError
from klas.pipeline.engines.worker_folder import (
    WorkerFolder,
    remove_abandoned_folders,
    workers_root,
)

HOLD = """
import sys
from klas.pipeline.engines.worker_folder import WorkerFolder
folder = WorkerFolder(sys.argv[1])
(folder.path / "content").write_text("x")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("KLAS_CACHE_DIR", str(tmp_path))
    return tmp_path / "ray-workers"


@pytest.fixture
def other():
    """Another process that has a folder."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD, "theirs"], **pipes)
    with process:
        assert process.stdout.readline().strip() == b"held"
        yield process
        process.kill()


def test_without_a_cache_folder_they_are_temporary(monkeypatch, tmp_path):
    monkeypatch.delenv("KLAS_CACHE_DIR")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert workers_root().parent == tmp_path


def test_a_folder_of_a_living_worker_stays(root, other):
    mine = WorkerFolder("mine")
    remove_abandoned_folders("theirs", 0.05)
    assert (root / "theirs" / "content").is_file()
    assert mine.path == root / "mine"
    assert mine.path.is_dir()


def test_a_killed_workers_folder_goes_when_one_begins(root, other):
    other.kill()
    other.wait()
    WorkerFolder("mine")
    assert not (root / "theirs").exists()


def test_workers_share_a_folder_until_the_last_one_ends(root, other):
    mine = WorkerFolder("theirs")
    other.kill()
    other.wait()
    remove_abandoned_folders("theirs", 0.05)
    assert (mine.path / "content").is_file()


def test_the_folder_of_workers_that_are_about_to_end_goes_when_they_have(root, other):
    other.kill()  # it may take a moment
    remove_abandoned_folders("theirs", 30)
    assert not (root / "theirs").exists()


def test_nothing_is_made_to_be_deleted(root):
    remove_abandoned_folders("mine", 0)
    assert not root.exists()


def test_a_folder_that_cannot_be_made(root):
    root.write_text("a file stands in its place")
    with pytest.raises(StoreError, match="workers cannot keep files there"):
        WorkerFolder("mine")
