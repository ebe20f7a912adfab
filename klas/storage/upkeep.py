"""Whether the results of a store are whole and its index names them all; and mending it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from klas.errors import StoreError
from klas.storage.index import Entry, database
from klas.storage.objects import DESCRIPTION, described, files_of_results, is_whole, place
from klas.storage.store import Store
from klas.storage.sweep import sweep


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was found.

    Attributes:
        checked: how many results there are, of which every byte was read.
        damaged: those whose file is missing or is not what was stored.
        unlisted: those that are whole, but that the index lacks or says something else of.
        nameless: files of results of which nobody says what they are.
        rows: keys of the index's rows that KLAS never writes.
    """

    checked: int
    damaged: tuple[Entry, ...]
    unlisted: tuple[Entry, ...]
    nameless: tuple[Path, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What is seen of the results without reading one.

    Attributes:
        results: how many the index names.
        bytes: what they take.
        missing: how many of them have no file, or one of another size.
        unlisted: how many files of results the index does not name.
        rows: how many rows of the index KLAS never writes.
    """

    results: int
    bytes: int
    missing: int
    unlisted: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """What was done.

    Attributes:
        results: how many the index names now; every byte of them was read.
        listed: how many of them it lacked, or said something else of.
        deleted: the results that were missing or damaged.
        nameless: as in :class:`Verified`; they stay, and nothing uses them.
    """

    results: int
    listed: int
    deleted: tuple[Entry, ...]
    nameless: tuple[Path, ...]


def glance(store: Store) -> Glance:
    """Compare the index with the names and sizes of files. It changes nothing.

    Raises:
        StoreError: the index cannot be read.
    """
    rows = store.contents.rows() if database(store.root).is_file() else []
    entries = [entry for _, entry in rows if entry is not None]
    return Glance(
        results=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        missing=sum(_size(store.path_of(entry)) != entry.bytes for entry in entries),
        unlisted=len(_stored(store) - {entry.digest for entry in entries}),
        rows=len(rows) - len(entries),
    )


def verify(store: Store) -> Verified:
    """Read every result. One without a description, of an older klas, gets one if it is whole.

    What is being stored or deleted meanwhile does not count.

    Raises:
        StoreError: the index cannot be read.
    """
    contents = store.contents
    if not store.read_only:
        sweep(contents)
    rows = contents.rows()
    indexed = {digest for digest, entry in rows if entry is not None}
    checked, damaged, unlisted = 0, [], []
    nameless: list[Path] = []
    for digest in sorted(indexed | _stored(store)):
        look = _look(store, digest, contents.indexed(digest))
        if look.whole is None or look.whole != look.said:
            if contents.is_moving(digest):
                continue
            look = _look(store, digest, contents.indexed(digest))  # it may have ended just now
        checked += look.whole is not None or look.claimed is not None
        if look.whole is not None and look.whole == look.said:
            contents.agree(look.whole)
        elif look.whole is not None:
            unlisted.append(look.whole)
        elif look.claimed is not None:
            damaged.append(look.claimed)
        else:
            nameless += _files(store, digest)
    return Verified(
        checked=checked,
        damaged=tuple(damaged),
        unlisted=tuple(unlisted),
        nameless=tuple(nameless),
        rows=tuple(key for key, entry in rows if entry is None),
    )


def repair(store: Store) -> Repaired:
    """Make the index again from the results, whatever state it is in; delete what is damaged.

    What an older klas stored says not itself what it is: of that the old index tells, as far as it
    can be read.

    Raises:
        StoreError: somebody is at work in the store, or it cannot be changed.
    """
    with store.alone(), changing(store):
        contents, rows = store.contents, []
        with suppress(StoreError):  # the index is what may be damaged
            contents.settle()
            rows = contents.rows()
        indexed = {digest: entry for digest, entry in rows if entry is not None}
        whole, deleted, listed = [], [], 0
        nameless: list[Path] = []
        for digest in sorted(indexed.keys() | _stored(store)):
            look = _look(store, digest, indexed.get(digest))
            if look.whole is not None:
                whole.append(look.whole)
                listed += look.whole != look.said
            elif look.claimed is not None:
                deleted.append(look.claimed)
            else:
                nameless += _files(store, digest)
        contents.replace_index(whole)
        for entry in whole:
            contents.agree(entry)
        for entry in deleted:
            contents.delete(entry)
        contents.settle()
    return Repaired(
        results=len(whole), listed=listed, deleted=tuple(deleted), nameless=tuple(nameless)
    )


@contextmanager
def changing(store: Store) -> Iterator[None]:
    """Turn the system's error into a sentence about the cache folder.

    Raises:
        StoreError: the folder cannot be changed.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{store.root}: the cache folder cannot be changed ({reason})") from None


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What there is of a digest.

    Attributes:
        said: what the index says of it.
        claimed: what the index or else the description says.
        whole: of these, the one that the file agrees with.
    """

    said: Entry | None
    claimed: Entry | None
    whole: Entry | None


def _look(store: Store, digest: str, said: Entry | None) -> _Look:
    claims = [e for e in (said, described(place(store.root, digest, DESCRIPTION))) if e is not None]
    return _Look(
        said=said,
        claimed=next(iter(claims), None),
        whole=next((e for e in dict.fromkeys(claims) if is_whole(store.root, e)), None),
    )


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _stored(store: Store) -> set[str]:
    return {file.stem for file in files_of_results(store.root)}


def _files(store: Store, digest: str) -> list[Path]:
    return [file for file in files_of_results(store.root, digest[:2]) if file.stem == digest]
