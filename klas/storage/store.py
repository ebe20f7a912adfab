"""Where results live: immutable, addressed by what they were made from, verified when read.

A result's key is the SHA-256 of its stage, the stage's version and every input. Arrays are
safetensors files, everything else is JSON; both are written beside their place, synced and
renamed, so a file under its final name is whole. What it is, and its checksum, is said beside it
and in a diskcache index (:mod:`klas.storage.contents`). Nothing is pickled, unpickled or evicted.
What is too large for memory is written in rows (:meth:`Store.writing`) and read as views of the
mapped file.

Two small things are not content-addressed, as in git: *refs* name the latest document of a
study, and job folders (:mod:`klas.jobs.process`) hold the state of running work.
"""

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock

from klas.errors import StoreError
from klas.storage.arrays import ArrayWriter, Shapes, views
from klas.storage.contents import Contents
from klas.storage.files import default_root, write_new, write_whole
from klas.storage.index import Entry, Kind, database, stamp
from klas.storage.key import Key, canonical_json
from klas.storage.objects import place
from klas.storage.records import parsed, seal, unseal
from klas.storage.sweep import remove_rows, sweep

FOLDERS = ("objects", "locks", "refs", "jobs", "tmp", "index")
MAPPED_BYTES = 2**24
"""Files of arrays from this size on are mapped; smaller ones are read, which is as quick."""


class Store:
    """The cache folder. Opening it is cheap; several processes may share it.

    A context manager: ``with Store() as store: …`` closes it.

    Attributes:
        root: the folder.
        read_only: whether it can be looked at, but nothing can be stored or deleted in it.

    Args:
        root: the folder; by default :func:`~klas.storage.files.default_root`.
        look: only look, even where one could write: nothing is created or swept up.

    Raises:
        StoreError: the folder cannot be created, read or written.

    Examples:
        >>> key = Key(stage="sum", version=1, inputs={"numbers": [1, 2]})
        >>> with Store("cache") as store:
        ...     print(store.get(key))
        ...     print(store.compute(key, lambda: 1 + 2))
        ...     print(store.get(key))
        None
        3
        3
    """

    def __init__(self, root: str | Path | None = None, *, look: bool = False) -> None:
        self.root = Path(root) if root is not None else default_root()
        self._known_whole: set[tuple[Any, ...]] = set()
        try:
            self.read_only = look or is_read_only(self.root)
            self.contents = Contents(self.root, read_only=self.read_only)
            if self.read_only:
                return
            for folder in FOLDERS:
                (self.root / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.root}: the cache folder cannot be used ({error}); "
                "name another with --cache-dir or KLAS_CACHE_DIR"
            ) from None
        sweep(self.contents)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the index's database."""
        self.contents.close()

    # -- results ---------------------------------------------------------------------------

    def get(self, key: Key) -> Any:
        """The stored value, or None. A damaged file counts as absent and is dropped.

        Arrays are read-only; large ones are views of the mapped file, so that only what is
        looked at is read.

        Raises:
            StoreError: the index cannot be read.
        """
        found = self._whole(key.digest)
        if found is None:
            return None
        entry, content = found
        try:
            return views(content) if entry.kind == "safetensors" else parsed(bytes(content))
        except (ValueError, OverflowError):
            if not self.read_only:
                self.delete(entry)  # its checksum is right, so it never was a result
            return None

    def has(self, key: Key) -> bool:
        """Whether the result is stored and whole. A damaged one is dropped, as by :meth:`get`.

        Raises:
            StoreError: the index cannot be read.
        """
        return self._whole(key.digest) is not None

    def put(self, key: Key, value: Any) -> None:
        """Store arrays (a dict of numpy arrays) or anything that JSON can hold."""
        if (
            isinstance(value, dict)
            and bool(value)
            and all(isinstance(v, np.ndarray) for v in value.values())
        ):
            shapes = {name: (array.shape, array.dtype) for name, array in value.items()}
            with self.writing(key, shapes) as out:
                for name, array in value.items():
                    out.append(name, array)
            return
        data = canonical_json(value).encode()
        entry = _entry(key, "json", hashlib.sha256(data).hexdigest(), len(data))
        with self.writes(), write_new(self.root / "tmp", data) as file:
            self.contents.store(entry, file)

    @contextmanager
    def writing(self, key: Key, shapes: Shapes) -> Iterator[ArrayWriter]:
        """Store arrays of known shapes whose rows come one batch after another.

        The space on disk is reserved at once. The result is there when the block ends; if it ends
        with an error, nothing is left of it.

        Raises:
            StoreError: the disk has too little room or cannot be written.
        """
        with self.writes(), self.lock(key.digest):
            remove_rows(self.contents)
            temporary = self.root / "tmp" / f"{key.digest}.rows"
            try:
                with ArrayWriter(temporary, shapes) as out:
                    yield out
                    sha256 = out.finish()
                self.take(key, temporary, sha256=sha256, size=out.bytes)
            except BaseException:
                with suppress(OSError):  # else whoever comes next deletes it
                    temporary.unlink(missing_ok=True)
                raise

    def compute(self, key: Key, make: Callable[[], Any]) -> Any:
        """The stored value, made and stored first if it is absent.

        Of several processes that want the same result one makes it and the others wait; the
        lock is the operating system's and dies with its holder.

        Args:
            make: gives the value, or None if it has stored it itself, by :meth:`writing`.

        Raises:
            StoreError: it is absent and the folder is read-only, or cannot be written.
        """
        value = self.get(key)
        if value is None:
            self._writable(missing=key.label or key.stage)
            with self.contents.gate.writing(), self.lock(key.digest):
                value = self.get(key)
                if value is None:
                    value = make()
                    if value is not None:
                        self.put(key, value)
                    elif (value := self.get(key)) is None:
                        raise StoreError(f"{self.root}: what was just written cannot be read back")
        return value

    def lock(self, name: str) -> FileLock:
        """A lock that is released when its process ends, however it ends.

        Whoever holds it may take it again: :meth:`compute` holds that of :meth:`writing`.

        Raises:
            StoreError: the folder is read-only.
        """
        self._writable()
        return self.contents.lock(name)

    def at_work(self, what: str, study: str | None = None) -> AbstractContextManager[None]:
        """While results are computed or exported: nobody deletes any that are needed meanwhile.

        Args:
            what: who is at work, for whoever wants to delete results.
            study: the results key of the study whose results are needed; None for no study's.
        """
        return nullcontext() if self.read_only else self.contents.gate.at_work(what, study)

    def writes(self) -> AbstractContextManager[None]:
        """While a file or folder of the store is written. Waits while somebody deletes results.

        Raises:
            StoreError: the folder is read-only.
        """
        self._writable()
        return self.contents.gate.writing()

    def alone(self, study: str | None = None) -> AbstractContextManager[None]:
        """While results are deleted: of one study (its results key), or any.

        Raises:
            StoreError: the folder is read-only, or somebody is at work in it.
        """
        self._writable()
        return self.contents.gate.alone(study)

    # -- refs ------------------------------------------------------------------------------

    def set_ref(self, name: str, value: Any) -> None:
        """Replace the named document atomically; its keys keep their order."""
        self.write_file(self.ref_path(name), seal(value))

    def get_ref(self, name: str) -> Any:
        """The named document; None where there is none, or none that is whole."""
        try:
            return unseal(self.ref_path(name).read_bytes())
        except (OSError, ValueError):
            return None

    def ref_path(self, name: str) -> Path:
        """The file of a named document, whether there is one or not."""
        return self.root / "refs" / f"{name}.json"

    def stamp(self) -> tuple[tuple[int, int] | None, ...]:
        """A value, cheap to get, that changes whenever a result is stored or deleted."""
        return stamp(self.root)

    # -- upkeep ----------------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """Every indexed result.

        Raises:
            StoreError: the index cannot be read.
        """
        return self.contents.entries()

    def clear(self, stage: str | None = None) -> int:
        """Delete results (of one stage, or all), and the refs; returns the bytes of the results.

        To delete all needs no index.

        Raises:
            StoreError: the folder is read-only, or somebody is at work in it.
            OSError: it cannot be changed.
        """
        with self.alone():
            if stage is None:
                return self.contents.clear()
            entries = [entry for entry in self.entries() if entry.stage == stage]
            for entry in entries:
                self.delete(entry)
            # A document may name what is gone now; the next run puts it together again.
            for ref in (self.root / "refs").iterdir():
                ref.unlink()
            return sum(entry.bytes for entry in entries)

    def write_file(self, path: Path, data: bytes) -> None:
        """Write any file of the store whole or not at all."""
        self._writable()
        with self.writes():
            write_whole(path, data, scratch=self.root / "tmp")

    def entry(self, digest: str) -> Entry | None:
        """What is known of a result; None if nothing is.

        Raises:
            StoreError: the index cannot be read.
        """
        return next(self.contents.claims(digest), None)

    def take(self, key: Key, file: Path, *, sha256: str, size: int) -> None:
        """Store arrays that are a finished file already: it is moved to its place.

        Args:
            sha256, size: of the file.
        """
        entry = _entry(key, "safetensors", sha256, size)
        self.adopt(entry, file)
        self._known_whole.add(_identity(entry, self.path_of(entry).stat()))

    def adopt(self, entry: Entry, file: Path) -> None:
        """Take over a verified file of another store: it is moved to its place."""
        self._writable()
        self.contents.store(entry, file)

    def _whole(self, digest: str) -> tuple[Entry, bytes | mmap.mmap] | None:
        """A result's content and what it is; what is not whole is dropped."""
        claimed = []
        for entry in self.contents.claims(digest):
            try:
                content = self._content(entry)
            except (OSError, ValueError):
                claimed.append(entry)
                continue
            self.contents.agree(entry)
            return entry, content
        for entry in claimed:
            self._drop(entry)
        return None

    def _content(self, entry: Entry) -> bytes | mmap.mmap:
        """A result's file, verified: read, or mapped if it is large.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not what was stored.
        """
        content: bytes | mmap.mmap
        with self.path_of(entry).open("rb") as file:
            identity = _identity(entry, os.fstat(file.fileno()))
            if entry.kind == "safetensors" and entry.bytes >= MAPPED_BYTES:
                # Read once a process: hashing gigabytes at every look would take minutes.
                whole = identity in self._known_whole
                whole = whole or hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            else:
                content = file.read()
                whole = hashlib.sha256(content).hexdigest() == entry.sha256
        if not whole:
            raise ValueError("not what was stored")
        if isinstance(content, mmap.mmap):
            self._known_whole.add(identity)
        return content

    def path_of(self, entry: Entry) -> Path:
        """A result's file."""
        return place(self.root, entry.digest, entry.kind)

    def delete(self, entry: Entry) -> None:
        """Delete a result and its record.

        Raises:
            StoreError: the folder is read-only.
        """
        self._writable()
        self.contents.delete(entry)

    def _drop(self, entry: Entry) -> None:
        """Delete a damaged result, so that it is made again, if the folder lets one."""
        if not self.read_only:
            with suppress(OSError):
                self.contents.drop(entry)

    def _writable(self, missing: str = "") -> None:
        """Refuse to change what is read-only.

        Args:
            missing: what was wanted, where it is known to be absent.

        Raises:
            StoreError: the folder is read-only.
        """
        if self.read_only:
            lacks = f" and does not hold {missing}" if missing else ""
            raise StoreError(
                f"{self.root}: is read-only{lacks}; nothing can be added or deleted here, so name "
                "another folder with --cache-dir or KLAS_CACHE_DIR"
            )


def _entry(key: Key, kind: Kind, sha256: str, size: int) -> Entry:
    return Entry(
        digest=key.digest, stage=key.stage, label=key.label, kind=kind, sha256=sha256, bytes=size
    )


def is_read_only(root: Path) -> bool:
    """Whether there is a store that cannot be written."""
    if not database(root).is_file():
        return False
    there = [root, *(root / folder for folder in FOLDERS), database(root).parent, database(root)]
    return not all(os.access(path, os.W_OK) for path in there if path.exists())


def _identity(entry: Entry, status: os.stat_result) -> tuple[Any, ...]:
    """What shows that a file is still the one that was verified."""
    return (entry.sha256, status.st_size, status.st_mtime_ns, status.st_ino)
