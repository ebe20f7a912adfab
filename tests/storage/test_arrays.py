"""Files of arrays, against the safetensors library as the independent reader and writer."""

import json
import mmap

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from klas.errors import StoreError
from klas.storage.arrays import ArrayWriter, chunks, views

ARRAYS = {
    "half": np.arange(6, dtype=np.float16).reshape(2, 3),
    "wide": np.linspace(0, 1, 7),
    "deep": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "hits": np.array([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
    "one": np.array(3, dtype=np.int64),
    "none": np.empty((0, 4), np.float32),
}


def shapes_of(arrays):
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def written(path, arrays, rows=2):
    with ArrayWriter(path, shapes_of(arrays)) as out:
        for name, array in arrays.items():
            parts = np.split(array, range(rows, len(array), rows)) if array.ndim else [array]
            for part in parts:
                out.append(name, part)
        out.finish()


def same(actual, wanted):
    assert set(actual) == set(wanted)
    for name, array in wanted.items():
        assert actual[name].dtype == array.dtype
        assert actual[name].shape == array.shape
        assert (actual[name] == array).all()


def test_safetensors_reads_what_is_written_in_rows(tmp_path):
    written(tmp_path / "f", ARRAYS)
    same(load_file(tmp_path / "f"), ARRAYS)


def test_what_safetensors_writes_is_read(tmp_path):
    save_file(ARRAYS, tmp_path / "f", metadata={"who": "safetensors"})
    same(views((tmp_path / "f").read_bytes()), ARRAYS)


def test_a_mapped_file_gives_aligned_views_that_cannot_be_written(tmp_path):
    written(tmp_path / "f", ARRAYS)
    with (tmp_path / "f").open("rb") as file:
        actual = views(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    same(actual, ARRAYS)
    assert all(array.flags.aligned and not array.flags.writeable for array in actual.values())


def test_rows_that_are_not_contiguous(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    written(tmp_path / "f", {"a": array})
    same(load_file(tmp_path / "f"), {"a": array})


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((1, 3), np.float64),
        np.zeros((1, 2), np.float32),
        np.zeros((3, 3), np.float32),
        np.zeros(3, np.float32),
    ],
)
def test_rows_of_another_kind_than_stated(tmp_path, rows):
    with (
        ArrayWriter(tmp_path / "f", {"a": ((2, 3), np.dtype(np.float32))}) as out,
        pytest.raises(ValueError, match="a: "),
    ):
        out.append("a", rows)


def test_missing_rows_are_noticed(tmp_path):
    with ArrayWriter(tmp_path / "f", {"a": ((2, 3), np.dtype(np.float32))}) as out:
        out.append("a", np.zeros((1, 3), np.float32))
        with pytest.raises(ValueError, match="a: not every row"):
            out.finish()


def test_the_room_is_taken_at_once(tmp_path):
    with ArrayWriter(tmp_path / "f", {"a": ((1000, 1000), np.dtype(np.float32))}):
        assert (tmp_path / "f").stat().st_blocks * 512 >= 4_000_000


def test_more_than_any_disk_holds(tmp_path):
    with pytest.raises(StoreError, match=r"MB are needed.*--cache-dir"):
        ArrayWriter(tmp_path / "f", {"a": ((2**50,), np.dtype(np.float32))})


def planted(**entry):
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | entry}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


def test_the_planted_header_is_right_but_for_what_is_planted():
    assert (views(planted())["a"] == 0).all()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x00",
        (2**63).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"[17]",
        (4).to_bytes(8, "little") + b"\xff{}}",
        (14).to_bytes(8, "little") + b'{"a": "F32,2"}',
        planted(dtype="F31"),
        planted(dtype=["F32"]),
        planted(shape=[3]),
        planted(shape=[-2]),
        planted(shape=[2.0]),
        planted(shape=2),
        planted(shape=[2, 2**63], data_offsets=[0, 2**66]),
        planted(data_offsets=[8, 16]),
        planted(data_offsets=[-8, 0]),
        planted(data_offsets=[8, 0]),
        planted(data_offsets=[0]),
        planted(data_offsets=[True, 9]),
        planted()[:-1],
    ],
)
def test_damaged_and_planted_headers_are_refused(content):
    with pytest.raises(ValueError, match=r".+"):
        views(content)


def test_chunks_cover_the_array_once():
    array = np.arange(20).reshape(10, 2)
    parts = list(chunks(array, 4))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert (np.concatenate(parts) == array).all()
    parts[0][:] = -1  # a copy
    assert array[0, 0] == 0
