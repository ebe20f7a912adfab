"""Whether all that the store keeps is whole: results, index, documents, networks. No torch here."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from klas.results.refs import (
    damaged_refs,
    refs_of_others,
    remove_damaged_refs,
    unprotected_refs,
)
from klas.storage.exports import FOLDER as EXPORTS
from klas.storage.exports import export_names
from klas.storage.index import Entry
from klas.storage.sealed import damaged, discard
from klas.storage.store import Store
from klas.storage.trained import FOLDER as TRAINED
from klas.storage.trained import stored_trainings
from klas.storage.upkeep import Repaired, Verified, changing, repair, verify

LISTED = 20  # of one kind, in sentences; the JSON has all
MEND = "run `klas cache repair`: what is lost is computed again when it is needed"
DELETE = "`klas cache repair` deletes them"


@dataclass(frozen=True, kw_only=True)
class Health:
    """What :func:`examine` found.

    Attributes:
        results: the results and their index.
        refs: names of the documents and notes of studies that are damaged.
        others: names of those that are whole, but of another form than this klas reads.
        unprotected: how many of these an older klas wrote, without a checksum.
        exports: how many exported networks there are.
        bad_exports: the names of those that are damaged.
        trained: how many trained networks there are, the unfinished too.
        bad_trained: the names of those that are damaged.
    """

    results: Verified
    refs: tuple[str, ...]
    others: tuple[str, ...]
    unprotected: int
    exports: int
    bad_exports: tuple[str, ...]
    trained: int
    bad_trained: tuple[str, ...]

    @property
    def problem(self) -> str:
        """What is wrong, and what to do; nothing if all is whole."""
        found, said = self.results, []
        if any((found.damaged, found.unlisted, found.nameless, found.rows, self.refs)):
            said.append(f"not all that the cache keeps is whole; {MEND}")
        if self.bad_exports:
            said.append(f"exports are damaged: {DELETE}, then export them again")
        if self.bad_trained:
            said.append(f"trained networks are damaged: {DELETE}, then train them again")
        return "; ".join(said)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found = self.results
        return {
            "checked": found.checked,
            "damaged": [vars(entry) for entry in found.damaged],
            "unlisted": [vars(entry) for entry in found.unlisted],
            "nameless": [file.name for file in found.nameless],
            "index_rows_damaged": list(found.rows),
            "documents_damaged": list(self.refs),
            "documents_of_another_klas": list(self.others),
            "documents_without_checksum": self.unprotected,
            "exports_checked": self.exports,
            "exports_damaged": list(self.bad_exports),
            "trained_checked": self.trained,
            "trained_damaged": list(self.bad_trained),
        }

    def sentences(self) -> list[str]:
        """Of every kind how many there are, and which, as far as these are not too many."""
        found = self.results
        lines = [f"{found.checked} results checked, {len(found.damaged)} damaged"]
        lines += _each("damaged", _named(found.damaged))
        if found.unlisted:
            lines.append(f"{len(found.unlisted)} whole results are not, or wrongly, in the index")
            lines += _each(
                "orphan", [f"{e.label or e.stage} ({e.digest[:12]})" for e in found.unlisted]
            )
        if found.nameless:
            lines.append(
                f"{len(found.nameless)} files of an older klas are of no known result: the index "
                "lacks them, and they don't say themselves what they are; `klas cache clear` "
                "deletes them, and so does computing them again"
            )
            lines += _each("unknown", [file.name for file in found.nameless])
        lines += _each("damaged row of the index", [row[:80] for row in found.rows])
        lines += _each("damaged", [f"refs/{name}" for name in self.refs])
        if self.others:
            lines.append(
                f"{len(self.others)} documents and notes of studies are of an older or newer klas; "
                "this one passes them over"
            )
        if self.unprotected:
            lines.append(
                f"{self.unprotected} documents and notes of an older klas have no checksum; the "
                "next `klas run` of their study gives them one"
            )
        if self.exports:
            bad = len(self.bad_exports)
            lines.append(f"{self.exports} exported networks checked, {bad} damaged")
        lines += _each("damaged", [f"exports/{name}" for name in self.bad_exports])
        if self.trained:
            bad = len(self.bad_trained)
            lines.append(f"{self.trained} trained networks checked, {bad} damaged")
        lines += _each("damaged", [f"trained/{name}" for name in self.bad_trained])
        return lines


def examine(store: Store) -> Health:
    """Read all that the store keeps; what is damaged stays as it is.

    Raises:
        StoreError: the index cannot be read.
    """
    return Health(
        results=verify(store),
        refs=tuple(damaged_refs(store)),
        others=tuple(refs_of_others(store)),
        unprotected=unprotected_refs(store),
        exports=len(export_names(store)),
        bad_exports=tuple(damaged(store.root / EXPORTS, may_be_unfinished=False)),
        trained=len(stored_trainings(store)),
        bad_trained=tuple(damaged(store.root / TRAINED, may_be_unfinished=True)),
    )


@dataclass(frozen=True, kw_only=True)
class Mended:
    """What :func:`mend` did.

    Attributes:
        results: what became of the results and their index.
        refs: the names of the documents and notes of studies that were deleted.
        networks: the deleted ones, such as ``exports/a1``.
    """

    results: Repaired
    refs: tuple[str, ...]
    networks: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Of every kind how many there were, and which, as far as these are not too many."""
        done = self.results
        lines = [
            f"the index names {done.results} results now; {done.listed} of them it lacked or had "
            "wrong"
        ]
        if done.deleted:
            lines.append(
                f"{len(done.deleted)} were missing or damaged; they are computed again when needed"
            )
            lines += _each("deleted", [e.label or e.stage for e in done.deleted])
        if done.nameless:
            lines.append(
                f"{len(done.nameless)} files of an older klas stay, but nobody knows of which "
                "results they are"
            )
        if self.refs:
            lines.append(
                f"{len(self.refs)} documents or notes of studies were damaged and are deleted; "
                "`klas run` of the study puts them together again"
            )
            lines += _each("deleted", [f"refs/{name}" for name in self.refs])
        if self.networks:
            lines.append(
                f"{len(self.networks)} exported or trained networks were damaged and are deleted; "
                "export or train them again"
            )
            lines += _each("deleted", list(self.networks))
        return lines


def mend(store: Store) -> Mended:
    """Make the index again from the results, and delete what is damaged.

    Raises:
        StoreError: somebody is at work in the store, or it cannot be changed.
    """
    repaired, networks = repair(store), []
    with store.alone(), changing(store):
        for kind, may_be_unfinished in ((EXPORTS, False), (TRAINED, True)):
            for name in damaged(store.root / kind, may_be_unfinished=may_be_unfinished):
                discard(store, store.root / kind / name)
                networks.append(f"{kind}/{name}")
        refs = tuple(remove_damaged_refs(store))
    return Mended(results=repaired, refs=refs, networks=tuple(networks))


def _named(entries: Iterable[Entry]) -> list[str]:
    return [f"{entry.label or entry.stage} ({entry.digest[:12]})" for entry in entries]


def _each(what: str, names: list[str]) -> Iterator[str]:
    yield from (f"{what}: {name}" for name in names[:LISTED])
    if len(names) > LISTED:
        yield f"… {len(names) - LISTED} more; --json names all"
