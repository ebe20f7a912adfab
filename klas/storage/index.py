"""The index of a store: what each stored result is, in a diskcache without pickle."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diskcache

from klas.errors import StoreError
from klas.storage.key import canonical_json


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One stored result as the index knows it."""

    digest: str
    stage: str
    label: str
    kind: str  # the file's ending: "safetensors" or "json"
    sha256: str
    bytes: int


class _RawDisk(diskcache.Disk):  # type: ignore[misc]
    """diskcache's storage without its pickle (CVE-2025-69872): text keys and text values only.

    A row planted in the database could name pickle mode, a pickled key or a file elsewhere;
    each is refused before anything is opened. All our values are short and stay in the row.
    """

    def get(self, key: Any, raw: bool) -> str:
        if not raw or not isinstance(key, str):
            raise StoreError("the cache index holds a key that KLAS never writes; clear the cache")
        return key

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> str:
        if mode != diskcache.core.MODE_RAW or filename is not None or not isinstance(value, str):
            raise StoreError("the cache index holds a row that KLAS never writes; clear the cache")
        return value


class Index:
    """Which results there are, by digest. Several processes may share it.

    Raises:
        OSError, sqlite3.Error: the folder cannot be used; the store says so in a sentence.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rows = diskcache.Cache(
            str(root / "index"),
            disk=_RawDisk,
            disk_min_file_size=2**30,  # every value stays in its row
            eviction_policy="none",
            size_limit=2**62,
            cull_limit=0,
        )

    def close(self) -> None:
        """Close the database."""
        self._rows.close()

    def get(self, digest: str) -> Entry | None:
        """What is known of a result; None if nothing is.

        Raises:
            StoreError: the index cannot be read, or its row is damaged.
        """
        try:
            record = self._rows.get(digest)
        except (sqlite3.Error, diskcache.Timeout) as error:
            raise StoreError(f"{self._root}: the cache index cannot be read ({error})") from None
        return None if record is None else _entry(self._root, digest, record)

    def set(self, entry: Entry) -> None:
        """Record a file that is in its place.

        Raises:
            StoreError: the index cannot be written.
        """
        record = {name: value for name, value in vars(entry).items() if name != "digest"}
        try:
            self._rows.set(entry.digest, canonical_json(record))
        except (sqlite3.Error, diskcache.Timeout) as error:
            raise StoreError(f"{self._root}: the cache index cannot be written ({error})") from None

    def entries(self) -> Iterator[Entry]:
        """Every result."""
        for digest in self._rows.iterkeys():
            entry = self.get(digest)
            if entry is not None:
                yield entry

    def delete(self, entry: Entry) -> None:
        """Forget a result."""
        self._rows.delete(entry.digest)

    def clear(self) -> None:
        """Forget every result."""
        self._rows.clear()


class ReadOnlyIndex:
    """The same, of a folder that cannot be written, where diskcache cannot open its database.

    Raises:
        sqlite3.Error: the database cannot be read; the store says so in a sentence.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._address = ""
        # SQLite makes a file beside the database even to read it, unless it is told that nothing
        # will change. Only beside a log that a writer left that would hide what is in the log.
        for mode in ("mode=ro", "immutable=1") if _has_log(root) else ("immutable=1",):
            self._address = f"{database(root).absolute().as_uri()}?{mode}"
            try:
                self._rows("LIMIT 0")
                return
            except sqlite3.Error:
                if mode == "immutable=1":
                    raise

    def close(self) -> None:
        """Nothing is kept open: each look has a connection of its own, in whichever thread."""

    def get(self, digest: str) -> Entry | None:
        """As :meth:`Index.get`."""
        return next(self._entries("WHERE key = ?", digest), None)

    def entries(self) -> Iterator[Entry]:
        """Every result."""
        yield from self._entries("")

    def _entries(self, which: str, *values: str) -> Iterator[Entry]:
        try:
            rows = self._rows(which, *values)
        except sqlite3.Error as error:
            raise StoreError(f"{self._root}: the cache index cannot be read ({error})") from None
        check = _RawDisk.__new__(_RawDisk)
        for key, raw, mode, filename, value in rows:
            record = check.fetch(mode, filename, value, False)
            yield _entry(self._root, check.get(key, bool(raw)), record)

    def _rows(self, which: str, *values: str) -> list[tuple[Any, ...]]:
        columns = "key, raw, mode, filename, value"
        with contextlib.closing(sqlite3.connect(self._address, uri=True)) as connection:
            return connection.execute(f"SELECT {columns} FROM Cache {which}", values).fetchall()


def database(root: Path) -> Path:
    """The file of the index of a store."""
    return root / "index" / str(diskcache.core.DBNAME)


def _log(root: Path) -> Path:
    return database(root).with_name(f"{database(root).name}-wal")


def _has_log(root: Path) -> bool:
    return _log(root).exists() and _log(root).stat().st_size > 0


def stamp(root: Path) -> tuple[tuple[int, int] | None, ...]:
    """A value, cheap to get, that changes whenever a result is stored or deleted."""
    stats = [f.stat() if f.exists() else None for f in (database(root), _log(root))]
    return tuple((s.st_mtime_ns, s.st_size) if s else None for s in stats)


def _entry(root: Path, digest: str, record: str) -> Entry:
    try:
        return Entry(digest=digest, **json.loads(record))
    except (ValueError, TypeError):
        raise StoreError(
            f"{root}: the cache index is damaged at {digest[:12]}; run `klas cache clear`"
        ) from None
