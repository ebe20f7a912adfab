"""The index of a store: what each stored result is, in a diskcache without pickle.

It is made for speed alone: every result says beside itself what it is
(:mod:`klas.storage.objects`), so a row that is damaged, or all of them, can be made again.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import diskcache
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from klas.errors import StoreError
from klas.storage.key import canonical_json
from klas.storage.records import parsed

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Kind = Literal["safetensors", "json"]


def _encodable(text: str) -> str:
    text.encode()  # half a character cannot be printed
    return text


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One stored result as the index knows it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    digest: Digest
    stage: Annotated[str, Field(pattern=r"^\w{1,40}$")]
    label: Annotated[str, AfterValidator(_encodable)]
    kind: Kind  # the file's ending
    sha256: Digest
    bytes: Annotated[int, Field(ge=0, lt=2**63, strict=True)]


_ENTRY = TypeAdapter(Entry)


def read_entry(record: Any) -> Entry:
    """An entry from its plain values, which may come from anywhere.

    Raises:
        ValueError: they are not those of an entry.
    """
    return _ENTRY.validate_python(record)


class _Disk(diskcache.Disk):  # type: ignore[misc]
    """diskcache's storage, as far as only text in rows is written.

    Rows are read by :func:`_rows` alone, which unpickles nothing (CVE-2025-69872) and opens no
    file that a row names. None is deleted either.
    """

    def remove(self, file_path: str) -> None:
        """Nothing: rows of ours name no file, and others may name any."""


class Index:
    """Which results there are, by digest. Several processes may share it.

    Raises:
        StoreError: the folder cannot be used, or the database is damaged.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._address = f"{database(root).absolute().as_uri()}?mode=rw"
        with _sentences(root, "opened"):
            self._rows = diskcache.Cache(
                str(root / "index"),
                disk=_Disk,
                disk_min_file_size=2**30,  # every value stays in its row
                eviction_policy="none",
                size_limit=2**62,
                cull_limit=0,
            )

    def close(self) -> None:
        """Close the database."""
        self._rows.close()

    def get(self, digest: str) -> Entry | None:
        """What is known of a result; None if nothing is, or its row is damaged.

        Raises:
            StoreError: the index cannot be read.
        """
        return _find(self._root, self._address, digest)

    def rows(self) -> list[tuple[str, Entry | None]]:
        """Every row: its key, and the entry; None where it is not one that KLAS writes.

        Raises:
            StoreError: the index cannot be read.
        """
        return _rows(self._root, self._address)

    def set(self, entry: Entry) -> None:
        """Record a file that is in its place.

        Raises:
            StoreError: the index cannot be written.
        """
        record = {name: value for name, value in vars(entry).items() if name != "digest"}
        with _sentences(self._root, "written"):
            self._rows.set(entry.digest, canonical_json(record))

    def delete(self, digest: str) -> None:
        """Forget a result.

        Raises:
            StoreError: the index cannot be written.
        """
        with _sentences(self._root, "written"):
            self._rows.delete(digest)

    def clear(self) -> None:
        """Forget every result.

        Raises:
            StoreError: the index cannot be written.
        """
        with _sentences(self._root, "written"):
            self._rows.clear()


class ReadOnlyIndex:
    """The same, of a folder that cannot be written, where diskcache cannot open its database.

    Raises:
        StoreError: the database cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._address = ""
        # SQLite makes a file beside the database even to read it, unless it is told that nothing
        # will change. Only beside a log that a writer left that would hide what is in the log.
        for mode in ("mode=ro", "immutable=1") if _has_log(root) else ("immutable=1",):
            self._address = f"{database(root).absolute().as_uri()}?{mode}"
            try:
                _rows(root, self._address, "LIMIT 0")
                return
            except StoreError:
                if mode == "immutable=1":
                    raise

    def close(self) -> None:
        """Nothing is kept open: each look has a connection of its own, in whichever thread."""

    def get(self, digest: str) -> Entry | None:
        """As :meth:`Index.get`."""
        return _find(self._root, self._address, digest)

    def rows(self) -> list[tuple[str, Entry | None]]:
        """As :meth:`Index.rows`."""
        return _rows(self._root, self._address)


def database(root: Path) -> Path:
    """The file of the index of a store."""
    return root / "index" / str(diskcache.core.DBNAME)


def discard_database(root: Path) -> None:
    """Delete a database that cannot be used, so that the next :class:`Index` makes a new one.

    Raises:
        OSError: the folder cannot be changed.
    """
    for ending in ("", "-wal", "-shm", "-journal"):
        database(root).with_name(database(root).name + ending).unlink(missing_ok=True)


def stamp(root: Path) -> tuple[tuple[int, int] | None, ...]:
    """A value, cheap to get, that changes whenever a result is stored or deleted."""
    stats = [f.stat() if f.exists() else None for f in (database(root), _log(root))]
    return tuple((s.st_mtime_ns, s.st_size) if s else None for s in stats)


def _log(root: Path) -> Path:
    return database(root).with_name(f"{database(root).name}-wal")


def _has_log(root: Path) -> bool:
    return _log(root).exists() and _log(root).stat().st_size > 0


def _find(root: Path, address: str, digest: str) -> Entry | None:
    rows = _rows(root, address, "WHERE key = ?", digest)
    return next((entry for _, entry in rows if entry is not None), None)


def _rows(
    root: Path, address: str, which: str = "", *values: str
) -> list[tuple[str, Entry | None]]:
    """Rows of a database that may hold anything."""
    columns = "key, raw, mode, filename, value"
    with (
        _sentences(root, "read"),
        contextlib.closing(sqlite3.connect(address, uri=True, timeout=60)) as connection,
    ):
        connection.text_factory = lambda text: text.decode(errors="surrogateescape")
        rows = connection.execute(f"SELECT {columns} FROM Cache {which}", values).fetchall()
    return [(str(key), _entry(key, *row)) for key, *row in rows]


def _entry(key: Any, raw: Any, mode: Any, filename: Any, value: Any) -> Entry | None:
    plain = raw == 1 and mode == diskcache.core.MODE_RAW and filename is None
    if not (plain and isinstance(key, str) and isinstance(value, str)):
        return None
    with contextlib.suppress(ValueError):
        record = parsed(value)
        if isinstance(record, dict) and "digest" not in record:
            return read_entry({"digest": key, **record})
    return None


@contextlib.contextmanager
def _sentences(root: Path, done: str) -> Iterator[None]:
    """Turn whatever a database raises into one sentence: its content may come from anywhere.

    diskcache even takes settings from it.
    """
    try:
        yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise StoreError(
            f"{root}: the cache index cannot be {done} ({reason}); `klas cache repair` makes it "
            "again from the results, or name another folder with --cache-dir or KLAS_CACHE_DIR"
        ) from None
