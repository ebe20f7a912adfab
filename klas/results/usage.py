"""What the store holds, by study and by stage; freeing it.

Every run notes which results it read or wrote (:meth:`klas.pipeline.run.Pipeline.record`). A result
may serve several studies: freeing one study's results leaves what another known study uses.
Known are the built-in study, the saved ones, files that the caller names, and studies run from
a file elsewhere, which are told by their scores documents.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import diskcache

from klas.errors import JobError, KlasError, StoreError, StudyError
from klas.storage.catalogue import catalogue_key
from klas.storage.saved_studies import remove_study, saved_studies, study_path
from klas.storage.store import Entry, Store
from klas.study import DIGITS, STAGES, Stage, Study, load_study, parse_study

Origin = Literal["built-in", "saved", "file", "results"]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A study that the store knows of.

    Attributes:
        name: the saved study's, or of a ``file`` the file's.
        study: None where its file makes no sense.
        origin: ``file`` was named by the caller; ``results`` is known by what it computed alone.
        problem: why ``study`` is None.
    """

    name: str
    study: Study | None
    origin: Origin
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What the store holds of one study.

    Attributes:
        results: how many there are.
        bytes: what they take, shared ones counted whole.
        freeable: bytes of those that no other known study uses.
        shared_with: the studies that use the others.
        stages: bytes by the stage that made them.
        done: for each stage of a run, how many anchors or pairs have it, and of how many; empty
            before a first run.
        trainings: how many joint trainings there are.
        changed: when something was last computed, in seconds since the epoch.
    """

    known: Known
    results: int
    bytes: int
    freeable: int
    shared_with: tuple[str, ...]
    stages: Mapping[str, int]
    done: Mapping[Stage, tuple[int, int]]
    trainings: int
    changed: float | None

    @property
    def complete(self) -> bool:
        """Whether every stage of a run is computed."""
        return bool(self.done) and all(have == of for have, of in self.done.values())


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The whole store: its studies, results and bytes by stage, and what no known study uses."""

    studies: tuple[Holding, ...]
    stages: Mapping[str, tuple[int, int]]
    bytes: int
    unclaimed: int


def usage(store: Store, files: Sequence[Path] = ()) -> Usage:
    """Look through the index.

    Args:
        files: study files that count as known beside the saved ones.

    Raises:
        StoreError: the index cannot be read.
    """
    books = _Books(store, files)
    entries = books.entries.values()
    counts, sizes = Counter(e.stage for e in entries), Counter[str]()
    for entry in entries:
        sizes[entry.stage] += entry.bytes
    return Usage(
        studies=tuple(books.holding(known) for known in books.known),
        stages={stage: (counts[stage], sizes[stage]) for stage in sorted(counts)},
        bytes=sum(sizes.values()),
        unclaimed=sum(e.bytes for e in books.unclaimed()),
    )


def claimed(store: Store, study: Study) -> list[Entry]:
    """The results that a study's runs read or wrote and that are still there, by digest."""
    digests = _digests(store, study.results_key())
    return sorted((e for e in store.entries() if e.digest in digests), key=lambda e: e.digest)


def stages_done(document: Any) -> dict[Stage, tuple[int, int]]:
    """For each stage how many anchors or pairs have it, and of how many.

    Args:
        document: a scores document; empty is what comes of anything else.
    """
    try:
        anchors, pairs = document["anchors"], document["pairs"]
        probed = sum(a["probe_accuracy"] is not None for a in anchors)
        done: dict[Stage, tuple[int, int]] = {
            # A document is first put together when the anchors have run.
            "anchors": (len(anchors), len(anchors)),
            "probes": (probed, len(anchors)),
            "scores": (sum(p["theta"] is not None for p in pairs), len(pairs)),
        }
        tiers: tuple[Stage, ...] = ("zero_shot", "tuned")
        for tier in tiers:
            measured = [
                p["theta"] is not None
                and all(c["accuracy"][tier] is not None for c in p["candidates"])
                for p in pairs
            ]
            done[tier] = (sum(measured), len(pairs))
    except (KeyError, TypeError, AttributeError):
        return {}
    return done


def free_study(
    store: Store,
    study: Study,
    files: Sequence[Path] = (),
    *,
    at_work: Collection[str | None],
    stage: str | None = None,
) -> int:
    """Delete the results (of one stage, or all) that no other known study uses.

    Args:
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Returns:
        The bytes freed.

    Raises:
        JobError: a job of this study is running.
        StoreError: the folder cannot be changed.
    """
    books = _Books(store, files)
    books.refuse_running(at_work, study)
    alone = [e for e in books.alone(study) if stage is None or e.stage == stage]
    with changing(store):
        freed = books.delete(alone)
        if stage is None and not books.twins(study):
            books.forget(study)
    return freed


def delete_study(
    store: Store,
    name: str,
    seen: Study | None,
    files: Sequence[Path] = (),
    *,
    at_work: Collection[str | None],
    with_results: bool,
) -> int:
    """Delete a saved study, and the results that no other known study uses if that is wanted.

    Args:
        seen: the study as the user saw it; None if its file made no sense.
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Returns:
        The bytes freed.

    Raises:
        StudyError: there is none of that name, or it is another one by now.
        JobError: a job of this study is running.
        StoreError: the folder cannot be changed.
    """
    if seen is None:
        remove_study(store, name, None)
        return 0
    _Books(store, files).refuse_running(at_work, seen)
    remove_study(store, name, seen)
    freed = free_study(store, seen, files, at_work=at_work) if with_results else 0
    books = _Books(store, files)
    if not books.twins(seen):
        with changing(store):
            books.forget(seen)
    return freed


def free_stage(store: Store, stage: str, *, at_work: Collection[str | None]) -> int:
    """Delete one stage's results of all studies; returns the bytes freed.

    Args:
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Raises:
        JobError: a job is running.
        StoreError: the folder cannot be changed.
    """
    books = _Books(store)
    books.refuse_running(at_work)
    with changing(store):
        return books.delete([e for e in books.entries.values() if e.stage == stage])


def free_unclaimed(
    store: Store, files: Sequence[Path] = (), *, at_work: Collection[str | None]
) -> int:
    """Delete the results that no known study uses; returns the bytes freed.

    Args:
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Raises:
        JobError: a job is running: what it just made is not noted yet.
        StoreError: the folder cannot be changed.
    """
    books = _Books(store, files)
    books.refuse_running(at_work)
    with changing(store):
        return books.delete(books.unclaimed())


def free_everything(store: Store, *, at_work: Collection[str | None]) -> int:
    """Delete every result; the saved studies stay. Returns the bytes freed.

    Args:
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Raises:
        JobError: a job is running.
        StoreError: the folder cannot be changed.
    """
    _refuse_running(at_work, None)
    with changing(store):
        return store.clear()


@contextmanager
def changing(store: Store) -> Iterator[None]:
    """Say in a sentence that the cache folder cannot be changed.

    Raises:
        StoreError: in place of what the system or the index says.
    """
    try:
        yield
    except (OSError, sqlite3.Error, diskcache.Timeout) as error:
        said = getattr(error, "strerror", None) or error
        raise StoreError(f"{store.root}: the cache folder cannot be changed ({said})") from None


class _Books:
    """Who uses what, read once."""

    def __init__(self, store: Store, files: Sequence[Path] = ()) -> None:
        self.store = store
        self.entries = {e.digest: e for e in store.entries()}
        self._documents = dict(_documents(store))
        self._refs: dict[str, list[str]] = {}  # results key → the keys in its refs' names
        for ref, (_, study) in self._documents.items():
            # An older klas named the same study's results otherwise.
            self._refs.setdefault(study.results_key(), []).append(ref)
        self.known = self._all_known(files)
        self._used = {key: self._noted(key) for key in map(_key, self.known) if key is not None}

    def _all_known(self, files: Sequence[Path]) -> list[Known]:
        found = [Known(name=DIGITS.name, study=DIGITS, origin="built-in")]
        found += [_read(path.name, path, "file") for path in files]
        for name in saved_studies(self.store):
            found.append(_read(name, study_path(self.store, name), "saved"))
        listed = set(map(_key, found))
        for _, study in self._documents.values():
            if study.results_key() not in listed:
                listed.add(study.results_key())
                found.append(Known(name=study.name, study=study, origin="results"))
        return found

    def _noted(self, key: str) -> set[str]:
        noted = (_digests(self.store, ref) for ref in {key, *self._refs.get(key, [])})
        return set().union(*noted) & self.entries.keys()

    def _uses(self, study: Study) -> set[str]:
        key = study.results_key()
        return self._used[key] if key in self._used else self._noted(key)

    def holding(self, known: Known) -> Holding:
        """What there is of one study."""
        study = known.study
        mine = [] if study is None else [self.entries[d] for d in self._uses(study)]
        alone = [] if study is None else self.alone(study)
        sizes = Counter[str]()
        for entry in mine:
            sizes[entry.stage] += entry.bytes
        key = _key(known) or ""
        document, _ = self._documents.get(key, (None, None))
        return Holding(
            known=known,
            results=len(mine),
            bytes=sum(e.bytes for e in mine),
            freeable=sum(e.bytes for e in alone),
            shared_with=() if study is None else self._sharers(study),
            stages=dict(sorted(sizes.items())),
            done=stages_done(document),
            # One JSON result each; its weights and hits are arrays.
            trainings=sum(e.stage == "finetuned" and e.kind == "json" for e in mine),
            changed=max(map(self._changed, [key, *self._refs.get(key, [])])) or None,
        )

    def _changed(self, key: str) -> float:
        try:
            return self.store.ref_path(f"used-{key}").stat().st_mtime
        except OSError:
            return 0.0

    def twins(self, study: Study) -> list[Known]:
        """Other studies whose results are all the same: they differ in name or in selection."""
        key = study.results_key()
        return [
            k for k in self.known if _key(k) == key and k.study != study and k.origin != "results"
        ]

    def _others(self, study: Study) -> list[tuple[str, set[str]]]:
        """The names of all other studies, and what they use."""
        key = study.results_key()
        others = self.twins(study) + [k for k in self.known if _key(k) != key]
        return [(k.name, self._uses(k.study)) for k in others if k.study is not None]

    def _sharers(self, study: Study) -> tuple[str, ...]:
        mine = self._uses(study)
        return tuple(name for name, used in self._others(study) if mine & used)

    def alone(self, study: Study) -> list[Entry]:
        """The results that this study uses and no other."""
        others = set().union(*(used for _, used in self._others(study)))
        return [self.entries[d] for d in self._uses(study) - others]

    def unclaimed(self) -> list[Entry]:
        """The results of no known study. The list of timm's networks serves every study."""
        used = set().union({catalogue_key().digest}, *self._used.values())
        return [entry for digest, entry in self.entries.items() if digest not in used]

    def refuse_running(self, at_work: Collection[str | None], study: Study | None = None) -> None:
        """Refuse while a job runs: any, or one of this study or of one with the same results."""
        twins = [] if study is None else [k.study.name for k in self.twins(study) if k.study]
        _refuse_running(at_work, None if study is None else {study.name, *twins})

    def delete(self, entries: Iterable[Entry]) -> int:
        """Delete results, and the documents that speak of them; returns the bytes freed."""
        freed, spoken_of = 0, set()
        for entry in entries:
            self.store.delete(entry)
            freed += entry.bytes
            if entry.stage in STAGES:
                spoken_of.add(entry.digest)
        for ref in self._documents:
            if _digests(self.store, ref) & spoken_of:
                # The next run puts it together again.
                self.store.ref_path(f"scores-{ref}").unlink(missing_ok=True)
        return freed

    def forget(self, study: Study) -> None:
        """Delete a study's document and the note of what it uses."""
        key = study.results_key()
        for ref in {key, *self._refs.get(key, [])}:
            for name in ("scores", "used", "latency"):
                self.store.ref_path(f"{name}-{ref}").unlink(missing_ok=True)


def _refuse_running(at_work: Collection[str | None], names: set[str] | None) -> None:
    for name in at_work:
        if names is None or name in names:
            what = "the catalogue of networks" if name is None else f"study {name}"
            raise JobError(
                f"a job is computing {what}; wait for its end or cancel it, then free its results"
            )


def _read(name: str, path: Path, origin: Origin) -> Known:
    try:
        return Known(name=name, study=load_study(path), origin=origin)
    except StudyError as error:
        return Known(name=name, study=None, origin=origin, problem=str(error))


def _documents(store: Store) -> Iterator[tuple[str, tuple[Any, Study]]]:
    """Every scores document by the key in its name, and its study."""
    for path in sorted((store.root / "refs").glob("scores-*.json")):
        document = store.get_ref(path.stem)
        try:
            study = parse_study(document["study"], path.name)
        except (KlasError, KeyError, TypeError):  # nothing that a run has written
            continue
        yield path.stem.removeprefix("scores-"), (document, study)


def _digests(store: Store, key: str) -> set[str]:
    noted = store.get_ref(f"used-{key}")
    return {d for d in noted if isinstance(d, str)} if isinstance(noted, list) else set()


def _key(known: Known) -> str | None:
    return None if known.study is None else known.study.results_key()
