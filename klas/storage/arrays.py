"""Arrays in a safetensors file: written batch by batch, read without being loaded.

Pooled features of a large data set don't fit in memory. Their shapes are known beforehand, so
the header and all the disk space come first, and each batch's rows are then written to their
place. Read back, the arrays are views of the mapped file.
"""

import errno
import hashlib
import json
import math
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from klas.errors import StoreError
from klas.storage.records import parsed

Arrays = dict[str, NDArray[Any]]
Value = TypeVar("Value")

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Name → (shape, type) of each array of a file."""

_TYPES = {
    code: np.dtype(name)
    for code, name in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U64": "<u8",
        "U32": "<u4",
        "U16": "<u2",
        "U8": "u1",
        "BOOL": "?",
    }.items()
}
_CODES = {dtype: code for code, dtype in _TYPES.items()}
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)  # Windows asks for it
_NO_RESERVING = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class ArrayWriter:
    """A file of arrays that is being written, with space reserved on the disk for all of it.

    Attributes:
        bytes: the size of the finished file.

    Raises:
        StoreError: the file cannot be created or the disk has too little room.
    """

    def __init__(self, path: Path, shapes: Shapes) -> None:
        self._path = path
        self._shapes = {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in shapes.items()}
        header, spans = _header(self._shapes)
        self._ends = {name: end for name, (_, end) in spans.items()}
        self._next = {name: start for name, (start, _) in spans.items()}
        self.bytes = max(self._ends.values(), default=len(header))
        with _sentences(path, self.bytes):
            self._file = os.open(path, _FLAGS, 0o666)
            try:
                _reserve(self._file, self.bytes)
                _write_at(self._file, header, 0)
            except BaseException:
                os.close(self._file)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Write the next rows (n, …) of one array.

        Raises:
            StoreError: the file cannot be written.
            ValueError: the rows have another type or shape than was stated.
        """
        shape, dtype = self._shapes[name]
        start, end = self._next[name], self._next[name] + rows.nbytes
        if rows.dtype != dtype or rows.shape[1:] != shape[1:] or end > self._ends[name]:
            raise ValueError(f"{name}: {rows.dtype} rows {rows.shape} in a {dtype} array {shape}")
        with _sentences(self._path, self.bytes):
            _write_at(self._file, np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data, start)
        self._next[name] = end

    def finish(self) -> str:
        """Sync the file to the disk; returns its SHA-256.

        Raises:
            StoreError: the file cannot be written.
            ValueError: rows are missing.
        """
        missing = [name for name, end in self._ends.items() if self._next[name] < end]
        if missing:
            raise ValueError(f"{missing[0]}: not every row was written")
        with _sentences(self._path, self.bytes):
            os.fsync(self._file)
            with os.fdopen(os.dup(self._file), "rb") as file:
                file.seek(0)
                return hashlib.file_digest(file, "sha256").hexdigest()


def views(content: bytes | mmap.mmap) -> Arrays:
    """The arrays of a safetensors file as read-only views of its content.

    Raises:
        ValueError: the header is not a valid one, or points outside the content.
    """
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content) - 8:
        raise ValueError("the header is longer than the file")
    header = parsed(content[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("the header is not a table")
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
            start, end = entry["data_offsets"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{name}: its entry is not one of a safetensors file") from error
        if not all(type(n) is int and n >= 0 for n in (*shape, start, end)):
            raise ValueError(f"{name}: its shape or place is not made of whole numbers")
        length = math.prod(shape) * dtype.itemsize
        if end - start != length or end > len(content) - 8 - size:
            raise ValueError(
                f"{name}: lies outside the file or does not have the size of its shape"
            )
        flat = np.frombuffer(content, np.uint8, length, 8 + size + start)
        array = flat.view(dtype).reshape(shape)
        array.flags.writeable = False
        arrays[name] = array
    return arrays


def under(entries: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The entries whose names begin with a prefix, by the rest of their names.

    Examples:
        >>> under({"source/weight": 1, "source/bias": 2, "target/bias": 3}, "source/")
        {'weight': 1, 'bias': 2}
    """
    return {n.removeprefix(prefix): value for n, value in entries.items() if n.startswith(prefix)}


def chunks(array: NDArray[Any], rows: int) -> Iterator[NDArray[Any]]:
    """:func:`parts` of at most ``rows`` consecutive rows each, which together cover the array.

    Examples:
        >>> [len(part) for part in chunks(np.zeros((5, 2)), rows=2)]
        [2, 2, 1]
    """
    return parts(array, ((start, start + rows) for start in range(0, len(array), rows)))


def parts(array: NDArray[Any], bounds: Iterable[tuple[int, ...]]) -> Iterator[NDArray[Any]]:
    """Copies of parts of an array, one after another.

    If the array is in a mapped file, one part at a time is in this process's memory.

    Args:
        bounds: (start, stop, …) of each part.
    """
    for start, stop, *_ in bounds:
        yield np.array(array[start:stop])
        _let_go(array)


def _let_go(array: NDArray[Any]) -> None:
    """Drop a mapped file's pages from this process's memory; they are read again if needed."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        base.madvise(mmap.MADV_DONTNEED)


def _header(shapes: Shapes) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The file's header, and where each array begins and ends in the file, in bytes."""
    # Widest types first, as safetensors does: then every array is aligned.
    names = sorted(shapes, key=lambda name: (-shapes[name][1].itemsize, name))
    entries: dict[str, Any] = {}
    end = 0
    for name in names:
        shape, dtype = shapes[name]
        start, end = end, end + math.prod(shape) * dtype.itemsize
        entries[name] = {
            "dtype": _CODES[dtype],
            "shape": [int(n) for n in shape],
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    first = 8 + len(text)
    spans = {
        n: (first + e["data_offsets"][0], first + e["data_offsets"][1]) for n, e in entries.items()
    }
    return len(text).to_bytes(8, "little") + text, spans


def _reserve(file: int, size: int) -> None:
    """Reserve the disk space now, so that it cannot run out after hours of work."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, size)
            return
        except OSError as error:
            if error.errno not in _NO_RESERVING:
                raise
    os.ftruncate(file, size)


def _write_at(file: int, data: bytes | memoryview, place: int) -> None:
    os.lseek(file, place, os.SEEK_SET)  # Windows has no pwrite
    done = 0
    with memoryview(data) as rest:
        while done < len(rest):  # one call writes at most 2 GiB
            done += os.write(file, rest[done:])


@contextmanager
def _sentences(path: Path, size: int) -> Iterator[None]:
    """Turn the operating system's error about a file into one sentence, with advice."""
    try:
        yield
    except OSError as error:
        advice = ""
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            advice = (
                f"; {size / 1e6:,.1f} MB are needed: free some room (`klas cache clear`), take "
                "fewer samples, or name another folder with --cache-dir or KLAS_CACHE_DIR"
            )
        raise StoreError(
            f"{path.parent}: cannot be written ({error.strerror or error}){advice}"
        ) from None
