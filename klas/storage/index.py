"""The index of a store: what each stored result is, in a diskcache without pickle."""

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
        if record is None:
            return None
        try:
            return Entry(digest=digest, **json.loads(record))
        except (ValueError, TypeError):
            raise StoreError(
                f"{self._root}: the cache index is damaged at {digest[:12]}; run `klas cache clear`"
            ) from None

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

    def stamp(self) -> tuple[tuple[int, int] | None, ...]:
        """A value, cheap to get, that changes whenever a result is stored or deleted."""
        files = [self._root / "index" / name for name in ("cache.db", "cache.db-wal")]
        stats = [file.stat() if file.exists() else None for file in files]
        return tuple((s.st_mtime_ns, s.st_size) if s else None for s in stats)
