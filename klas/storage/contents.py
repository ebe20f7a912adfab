"""Which results a store holds: files, descriptions and index, in agreement whoever is killed when.

A result that is being stored or deleted is named by a file in ``tmp`` until all of that is done. A
killed process leaves that file; whoever opens the store next settles it: if the result is whole in
its place it stays, otherwise nothing of it does.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from klas.errors import StoreError
from klas.storage.files import move, sync_folder, write_new
from klas.storage.gate import Gate
from klas.storage.index import Entry, Index, ReadOnlyIndex, discard_database
from klas.storage.objects import DESCRIPTION, FOLDER, described, files_of_results, is_whole, place
from klas.storage.records import seal

CLEARING = "clearing"  # in tmp, while everything is deleted


class _Lock(FileLock):
    def _acquire(self) -> None:
        with _sentences(Path(self.lock_file)):
            super()._acquire()


class Contents:
    """The results of a store.

    Attributes:
        root: its folder.
        read_only: whether nothing can be changed in it.
        gate: who may write now.
    """

    def __init__(self, root: Path, *, read_only: bool) -> None:
        self.root = root
        self.read_only = read_only
        self.gate = Gate(root / "locks")
        self._index: Index | ReadOnlyIndex | None = None
        self._opening = threading.Lock()
        self._agreed: set[str] = set()

    def close(self) -> None:
        """Close the index's database."""
        with self._opening:
            if self._index is not None:
                self._index.close()
            self._index = None

    # -- looking ---------------------------------------------------------------------------

    def indexed(self, digest: str) -> Entry | None:
        """What the index says of a result; None if it says nothing, or its row is damaged.

        Raises:
            StoreError: the index cannot be read.
        """
        return self._opened().get(digest)

    def claims(self, digest: str) -> Iterator[Entry]:
        """What is said of a result: by the index, and by the description if that says otherwise.

        Raises:
            StoreError: the index cannot be read.
        """
        indexed = self.indexed(digest)
        if indexed is not None:
            yield indexed
        own = described(place(self.root, digest, DESCRIPTION))
        if own is not None and own != indexed:
            self._agreed.discard(digest)
            yield own

    def is_moving(self, digest: str) -> bool:
        """Whether a result is being stored or deleted."""
        return self._begun(digest).exists()

    def rows(self) -> list[tuple[str, Entry | None]]:
        """Every row of the index: its key, and the entry; None where the row is damaged.

        Raises:
            StoreError: the index cannot be read.
        """
        return self._opened().rows()

    def entries(self) -> Iterator[Entry]:
        """Every result in the index; of a damaged row, what the result says itself.

        Raises:
            StoreError: the index cannot be read.
        """
        rows = self.rows()
        known = {digest for digest, entry in rows if entry is not None}
        for digest, entry in rows:
            if entry is not None:
                yield entry
            elif digest not in known:
                known.add(digest)
                # By the digest that it states, not by the row's key, which may be any path.
                yield from self._own_words(digest)

    def _own_words(self, digest: str) -> Iterator[Entry]:
        if digest.isalnum() and (own := described(place(self.root, digest, DESCRIPTION))):
            yield own

    # -- changing --------------------------------------------------------------------------

    def lock(self, name: str) -> FileLock:
        """A lock that is released when its process ends, however it ends.

        To take it raises a StoreError where its file cannot be written.
        """
        return _Lock(self.root / "locks" / f"{name}.lock", is_singleton=True)

    def store(self, entry: Entry, file: Path) -> None:
        """Store a result whose file is finished and synced: it is moved to its place.

        Raises:
            StoreError: the folder cannot be written.
        """
        target = place(self.root, entry.digest, entry.kind)
        with self.gate.writing(), self.lock(entry.digest), _sentences(target):
            self._begin(entry)
            if not target.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
                sync_folder(target.parent.parent)
            file.replace(target)
            self._agree(entry)  # which syncs the folder

    def agree(self, entry: Entry) -> None:
        """Let the description and the index say of a result, which is whole, what it is.

        Nothing happens if they do, or on a disk that is full: the result can be read in any case.
        """
        if self.read_only or entry.digest in self._agreed:
            return
        own = place(self.root, entry.digest, DESCRIPTION)
        with suppress(StoreError, OSError):
            if described(own) == entry and self.indexed(entry.digest) == entry:
                self._agreed.add(entry.digest)
                return
            with self.gate.writing(), self._locked_now(entry.digest) as locked:
                if locked and place(self.root, entry.digest, entry.kind).is_file():
                    self._begin(entry)
                    self._agree(entry)

    def drop(self, entry: Entry) -> None:
        """Delete a damaged result, unless somebody makes it again just now.

        Raises:
            StoreError: the index cannot be written.
            OSError: the folder cannot be changed.
        """
        with self.gate.writing(), self._locked_now(entry.digest) as locked:
            if locked and not is_whole(self.root, entry):
                self.delete(entry)

    def delete(self, entry: Entry) -> None:
        """Delete a result, its description and its row.

        Raises:
            StoreError: the index cannot be written.
            OSError: the folder cannot be changed.
        """
        with self.gate.writing():
            self._agreed.discard(entry.digest)
            try:  # one step where there is a description, and none of them has to reach the disk
                place(self.root, entry.digest, DESCRIPTION).replace(self._begun(entry.digest))
            except OSError:
                self._begin(entry)
            self._remove(entry)
            self._begun(entry.digest).unlink(missing_ok=True)

    def clear(self) -> int:
        """Delete all results, refs and unfinished files; returns the bytes of the results.

        It needs no index. The caller is alone in the store.

        Raises:
            StoreError: the index cannot be written.
            OSError: the folder cannot be changed.
        """
        freed = sum(file.stat().st_size for file in files_of_results(self.root))
        marker = self.root / "tmp" / CLEARING
        marker.touch()
        sync_folder(marker.parent)
        try:
            self._clear()
        except OSError:
            with suppress(OSError):
                marker.unlink()  # the next one that opens the store is not to go on
            raise
        return freed

    def replace_index(self, entries: list[Entry]) -> None:
        """Let the index name these results and no others. The caller is alone in the store.

        Raises:
            StoreError: the index cannot be written.
            OSError: the folder cannot be changed.
        """
        with suppress(StoreError):  # others may have it open: a database that is whole stays
            self._writable().clear()
            self._set_all(entries)
            return
        self.close()
        discard_database(self.root)
        self._set_all(entries)

    def settle(self) -> None:
        """Finish what killed processes left half done. The caller is alone in the store.

        Raises:
            StoreError: the index cannot be written.
            OSError: the folder cannot be changed.
        """
        if (self.root / "tmp" / CLEARING).exists():
            self._clear()
        for begun in (self.root / "tmp").glob(f"*.{DESCRIPTION}"):
            entry = described(begun)
            if entry is not None and is_whole(self.root, entry):
                self._agree(entry)
                continue
            indexed = self._writable().get(begun.stem)
            if indexed is not None and not is_whole(self.root, indexed):
                self._remove(indexed)
            begun.unlink(missing_ok=True)

    @contextmanager
    def _locked_now(self, digest: str) -> Iterator[bool]:
        """Holds a result's lock, if nobody else does; says whether that is so."""
        try:
            with self.lock(digest).acquire(timeout=0):
                yield True
        except Timeout:
            yield False

    def _begin(self, entry: Entry) -> None:
        with write_new(self.root / "tmp", seal(vars(entry))) as new:
            new.replace(self._begun(entry.digest))

    def _begun(self, digest: str) -> Path:
        return self.root / "tmp" / f"{digest}.{DESCRIPTION}"

    def _agree(self, entry: Entry) -> None:
        """The last steps of storing: the index, and what named the result becomes what it says."""
        self._writable().set(entry)
        move(self._begun(entry.digest), place(self.root, entry.digest, DESCRIPTION))
        self._agreed.add(entry.digest)

    def _remove(self, entry: Entry) -> None:
        place(self.root, entry.digest, entry.kind).unlink(missing_ok=True)
        place(self.root, entry.digest, DESCRIPTION).unlink(missing_ok=True)
        self._writable().delete(entry.digest)

    def _clear(self) -> None:
        marker = self.root / "tmp" / CLEARING
        for folder in (FOLDER, "refs", "tmp"):
            for left in sorted((self.root / folder).rglob("*"), reverse=True):
                if left != marker:
                    left.rmdir() if left.is_dir() else left.unlink()
        self._agreed.clear()
        self.replace_index([])
        marker.unlink()

    def _set_all(self, entries: list[Entry]) -> None:
        index = self._writable()
        for entry in entries:
            index.set(entry)

    def _opened(self) -> Index | ReadOnlyIndex:
        with self._opening:
            if self._index is None:
                made = ReadOnlyIndex(self.root) if self.read_only else Index(self.root)
                self._index = made
            return self._index

    def _writable(self) -> Index:
        index = self._opened()
        assert isinstance(index, Index), "the store refuses before"
        return index


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None
