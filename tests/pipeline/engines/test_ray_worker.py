"""What a worker on another host says and sends, without a cluster."""

import errno
from pathlib import Path

import pytest

from klas.errors import DataError, DivergedError, StoreError, WorkerError
from klas.pipeline.engines import ray_worker
from klas.pipeline.engines.ray_worker import (
    PieceWriter,
    _of_this_host,
    check_versions,
    pieces_of,
    versions,
)


@pytest.mark.parametrize("size", [1, 99, 100, 101, 350])
def test_a_file_travels_in_pieces(tmp_path, monkeypatch, size):
    import hashlib

    monkeypatch.setattr(ray_worker, "PIECE_BYTES", 100)
    sent, came = tmp_path / "sent", tmp_path / "came"
    data = bytes(k % 251 for k in range(size))
    sent.write_bytes(data)
    came.write_bytes(b"left from before")
    writer = PieceWriter(came)
    pieces = list(pieces_of(sent))
    assert [len(piece) for piece in pieces] == [100] * (size // 100) + [size % 100] * (
        size % 100 > 0
    )
    for piece in pieces:
        writer.add(piece)
    assert came.read_bytes() == data
    assert writer.is_whole(hashlib.sha256(data).hexdigest())
    writer.add(pieces[0])
    assert not writer.is_whole(hashlib.sha256(data).hexdigest())


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    (tmp_path / "sent").write_bytes(b"x")
    (piece,) = pieces_of(tmp_path / "sent")
    writer = PieceWriter(tmp_path / "came")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StoreError, match=r"came: cannot be written \(No space left on device\)"):
        writer.add(piece)


def test_what_is_about_a_host_names_it(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "b")
    said = _of_this_host(DataError("/data/val: there is no such folder"))
    assert isinstance(said, DataError)
    assert str(said) == "host b: /data/val: there is no such folder"
    diverged = DivergedError("the loss is no longer a number")
    assert _of_this_host(diverged) is diverged  # it would be so anywhere


def test_another_version_is_refused_by_host():
    check_versions("b", versions(), versions())
    there = versions() | {"klas": "9.0"}
    with pytest.raises(WorkerError, match=r"^host b: has klas 9\.0, this machine klas [\d.]+; ins"):
        check_versions("b", there, versions())
    del there["torch"]
    with pytest.raises(WorkerError, match=r"has klas 9\.0, torch unknown, this machine klas"):
        check_versions("b", there, versions())
