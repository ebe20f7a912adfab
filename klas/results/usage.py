"""What the store holds, by study and by stage, and what no study claims.

Every run notes which results it reads or is about to write, and of which study they are
(:meth:`klas.pipeline.context.Context.record`). A result may serve several studies: freeing one
study's results (:mod:`klas.results.freeing`) leaves what another known study uses. Known are the
built-in study, the saved ones, files that the caller names, and studies that were run from a file
elsewhere, by their scores documents or, before the first one, by those notes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from klas.errors import KlasError, StudyError
from klas.results.documents.scores import ScoresDocument
from klas.results.keys import Keys
from klas.results.plan import results_about
from klas.results.refs import scores_ref, stored_document, study_ref, used_digests, used_ref
from klas.storage.catalogue import STAGE as CATALOGUE
from klas.storage.catalogue import catalogue_key
from klas.storage.exports import export_bytes, export_names
from klas.storage.index import Entry
from klas.storage.saved_studies import saved_studies, study_path
from klas.storage.store import Store
from klas.storage.trained import stored_trainings, trained_bytes
from klas.study import STAGES, Stage, Study, built_in_studies, load_study, parse_study

Origin = Literal["built-in", "saved", "file", "results"]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A study that the store knows of.

    Attributes:
        name: the saved study's, or of a ``file`` the file's.
        study: None where its file is not a valid study.
        origin: ``file``: named by the caller; ``results``: known only by what it computed.
        problem: why ``study`` is None.
    """

    name: str
    study: Study | None
    origin: Origin
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class StudyUsage:
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
    """The whole store.

    Attributes:
        stages: by stage, how many results there are and the bytes that they take.
        exports, trained: the same of exported and of trained networks, which are no results.
        bytes: of all.
        unclaimed: bytes of the results that no known study uses.
    """

    studies: tuple[StudyUsage, ...]
    stages: Mapping[str, tuple[int, int]]
    exports: tuple[int, int]
    trained: tuple[int, int]
    bytes: int
    unclaimed: int


def usage(store: Store, files: Sequence[Path] = ()) -> Usage:
    """Look through the index.

    Args:
        files: study files that count as known beside the saved ones.

    Raises:
        StoreError: the index cannot be read.
    """
    claims = Claims(store, files)
    entries = claims.entries.values()
    counts, sizes = Counter(e.stage for e in entries), Counter[str]()
    for entry in entries:
        sizes[entry.stage] += entry.bytes
    exported, trained = export_bytes(store), trained_bytes(store)
    return Usage(
        studies=tuple(claims.study_usage(known) for known in claims.known),
        stages={stage: (counts[stage], sizes[stage]) for stage in sorted(counts)},
        exports=(len(export_names(store)), exported),
        trained=(len(stored_trainings(store)), trained),
        bytes=sum(sizes.values()) + exported + trained,
        unclaimed=sum(e.bytes for e in claims.unclaimed()),
    )


def claimed(store: Store, study: Study) -> list[Entry]:
    """The results that a study's runs read or wrote and that are still there, by digest."""
    digests = used_digests(store, study.results_key())
    return sorted((e for e in store.entries() if e.digest in digests), key=lambda e: e.digest)


class Claims:
    """Which study uses which results, read once.

    Attributes:
        entries: what the index knows, by digest.
        known: the studies.
        documents: every scores document by the key in its name, and its study.
        refs: results key → the keys in the names of its documents and notes, which differ if an
            older klas wrote them.
    """

    def __init__(self, store: Store, files: Sequence[Path] = ()) -> None:
        self.store = store
        self.entries = {e.digest: e for e in store.entries()}
        self.documents = dict(_documents(store))
        self._run = {ref: study for ref, (_, study) in self.documents.items()}
        for ref, study in _noted_studies(store):
            if used_digests(store, ref) & self.entries.keys():
                self._run.setdefault(ref, study)
        self.refs: dict[str, list[str]] = {}
        for ref, study in self._run.items():
            self.refs.setdefault(study.results_key(), []).append(ref)
        self.known = self._all_known(files)
        self._used = {key: self._noted(key) for key in map(_key, self.known) if key is not None}

    def _all_known(self, files: Sequence[Path]) -> list[Known]:
        known = [
            Known(name=name, study=study, origin="built-in")
            for name, study in built_in_studies().items()
        ]
        known += [_read(path.name, path, "file") for path in files]
        for name in saved_studies(self.store):
            known.append(_read(name, study_path(self.store, name), "saved"))
        listed = set(map(_key, known))
        for study in self._run.values():
            if study.results_key() not in listed:
                listed.add(study.results_key())
                known.append(Known(name=study.name, study=study, origin="results"))
        return known

    def _noted(self, key: str) -> set[str]:
        noted = (used_digests(self.store, ref) for ref in {key, *self.refs.get(key, [])})
        return set().union(*noted) & self.entries.keys()

    def _uses(self, study: Study) -> set[str]:
        key = study.results_key()
        return self._used[key] if key in self._used else self._noted(key)

    def study_usage(self, known: Known) -> StudyUsage:
        """What the store holds of one study."""
        study = known.study
        mine = [] if study is None else [self.entries[d] for d in self._uses(study)]
        alone = [] if study is None else self.alone(study)
        sizes = Counter[str]()
        for entry in mine:
            sizes[entry.stage] += entry.bytes
        key = _key(known) or ""
        document, _ = self.documents.get(key, (None, None))
        return StudyUsage(
            known=known,
            results=len(mine),
            bytes=sum(e.bytes for e in mine),
            freeable=sum(e.bytes for e in alone),
            shared_with=() if study is None else self._sharers(study),
            stages=dict(sorted(sizes.items())),
            done={} if study is None else self._stages_done(document, study),
            # Each has one JSON result; its weights and outcomes are arrays.
            trainings=sum(e.stage == "finetuned" and e.kind == "json" for e in mine),
            changed=max(map(self._changed, [key, *self.refs.get(key, [])])) or None,
        )

    def _stages_done(
        self, document: ScoresDocument | None, study: Study
    ) -> dict[Stage, tuple[int, int]]:
        """For each stage how many anchors or pairs have it in the store, and of how many."""
        if document is None:
            return {}
        try:
            keys = Keys.of_document(document, study)
            anchors = list(keys.anchors)
            pairs = [(pair["source"], pair["target"]) for pair in document["pairs"]]
            done = {}
            for stage in STAGES:
                about = results_about(stage, anchors, pairs).values()
                there = [all(keys.of(r).digest in self.entries for r in rs) for rs in about]
                done[stage] = (sum(there), len(there))
        except KeyError:
            return {}  # it contradicts itself, so no run wrote it
        return done

    def _changed(self, key: str) -> float:
        try:
            return self.store.ref_path(used_ref(key)).stat().st_mtime
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
        """The results of no known study.

        The list of timm's networks serves every study, and so do its parts until it is whole.
        """
        whole = catalogue_key().digest
        used = set().union({whole}, *self._used.values())
        if whole not in self.entries:
            used |= {d for d, entry in self.entries.items() if entry.stage == CATALOGUE}
        return [entry for digest, entry in self.entries.items() if digest not in used]


def _read(name: str, path: Path, origin: Origin) -> Known:
    try:
        return Known(name=name, study=load_study(path), origin=origin)
    except StudyError as error:
        problem = str(error).replace(str(path), path.name)  # pages show no folders
        return Known(name=name, study=None, origin=origin, problem=problem)


def _documents(store: Store) -> Iterator[tuple[str, tuple[ScoresDocument | None, Study]]]:
    """Every scores document by the key in its name, and its study."""
    for path in sorted((store.root / "refs").glob(f"{scores_ref('*')}.json")):
        key, raw = path.stem.removeprefix(scores_ref("")), store.get_ref(path.stem)
        # A document of an older klas may be of another form: what is its study's stays its study's.
        if isinstance(raw, dict) and isinstance(raw.get("study"), dict):
            with suppress(KlasError):  # not written by a run
                study = parse_study(raw["study"], path.name)
                yield key, (stored_document(store, key), study)


def _noted_studies(store: Store) -> Iterator[tuple[str, Study]]:
    """Every study that a run noted, after the key in its note's name."""
    for path in sorted((store.root / "refs").glob(f"{study_ref('*')}.json")):
        try:
            yield (
                path.stem.removeprefix(study_ref("")),
                parse_study(store.get_ref(path.stem), path.name),
            )
        except KlasError:  # not written by a run
            continue


def _key(known: Known) -> str | None:
    return None if known.study is None else known.study.results_key()
