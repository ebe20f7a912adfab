"""Delete results (of a study, of a stage, of no study, or all) or networks. No torch here."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

from klas.errors import JobError
from klas.results.refs import scores_ref, study_ref, timings_ref, used_digests, used_ref
from klas.results.usage import Claims
from klas.storage.exports import FOLDER as EXPORTS
from klas.storage.index import Entry
from klas.storage.saved_studies import remove_study
from klas.storage.sealed import delete_all
from klas.storage.store import Store
from klas.storage.trained import FOLDER as TRAINED
from klas.storage.upkeep import changing
from klas.study import STAGES, Study


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
        StoreError: somebody is at work there, or the folder cannot be changed.
    """
    _refuse_while_at_work(Claims(store, files), at_work, study)
    with store.alone(study.results_key()), changing(store):
        claims = Claims(store, files)
        alone = [e for e in claims.alone(study) if stage is None or e.stage == stage]
        freed = _delete(claims, alone)
        if stage is None and not claims.twins(study):
            _forget(claims, study)
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
        seen: the study as the user saw it; None if its file was not a valid study.
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Returns:
        The bytes freed.

    Raises:
        StudyError: there is none of that name, or it was changed meanwhile.
        JobError: a job of this study is running.
        StoreError: somebody is at work there, or the folder cannot be changed.
    """
    if seen is None:
        remove_study(store, name, None)
        return 0
    _refuse_while_at_work(Claims(store, files), at_work, seen)
    remove_study(store, name, seen)
    freed = free_study(store, seen, files, at_work=at_work) if with_results else 0
    with store.alone(seen.results_key()), changing(store):
        claims = Claims(store, files)
        if not claims.twins(seen):
            _forget(claims, seen)
    return freed


def free_stage(store: Store, stage: str, *, at_work: Collection[str | None]) -> int:
    """Delete one stage's results of all studies; returns the bytes freed.

    Args:
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Raises:
        JobError: a job is running.
        StoreError: somebody is at work there, or the folder cannot be changed.
    """
    _refuse_names(at_work, None)
    with store.alone(), changing(store):
        claims = Claims(store)
        return _delete(claims, [e for e in claims.entries.values() if e.stage == stage])


def free_unclaimed(
    store: Store, files: Sequence[Path] = (), *, at_work: Collection[str | None]
) -> int:
    """Delete the results that no known study uses; returns the bytes freed.

    Args:
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Raises:
        JobError: a job is running: what it just made is not noted yet.
        StoreError: somebody is at work there, or the folder cannot be changed.
    """
    _refuse_names(at_work, None)
    with store.alone(), changing(store):
        claims = Claims(store, files)
        return _delete(claims, claims.unclaimed())


def free_everything(store: Store, *, at_work: Collection[str | None]) -> int:
    """Delete every result and every network; the saved studies stay. Returns the bytes freed.

    It needs no index, so it works also where that is damaged.

    Args:
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Raises:
        JobError: a job is running.
        StoreError: somebody is at work there, or the folder cannot be changed.
    """
    _refuse_names(at_work, None)
    with changing(store):
        freed = store.clear()
        with store.alone():
            return freed + delete_all(store, EXPORTS) + delete_all(store, TRAINED)


def free_networks(
    store: Store, kind: Literal["exports", "trained"], *, at_work: Collection[str | None]
) -> int:
    """Delete the networks that were exported or trained, the unfinished too.

    An export is made again from results; a training begins again at its first step.

    Args:
        at_work: the names of the studies that jobs are computing; None for the catalogue.

    Returns:
        The bytes freed.

    Raises:
        JobError: a job is running: it may be making one.
        StoreError: somebody is at work there, or the folder cannot be changed.
    """
    _refuse_names(at_work, None)
    with store.alone(), changing(store):
        return delete_all(store, kind)


def _refuse_while_at_work(claims: Claims, at_work: Collection[str | None], study: Study) -> None:
    """Refuse while a job runs that is of this study or of one with the same results."""
    twins = [k.study.name for k in claims.twins(study) if k.study]
    _refuse_names(at_work, {study.name, *twins})


def _delete(claims: Claims, entries: Iterable[Entry]) -> int:
    """Delete results, and the scores documents made from them; returns the bytes freed."""
    freed, in_documents = 0, set()
    for entry in entries:
        claims.store.delete(entry)
        freed += entry.bytes
        if entry.stage in STAGES:
            in_documents.add(entry.digest)
    for ref in claims.documents:
        if used_digests(claims.store, ref) & in_documents:
            # The next run puts it together again.
            claims.store.ref_path(scores_ref(ref)).unlink(missing_ok=True)
    return freed


def _forget(claims: Claims, study: Study) -> None:
    """Delete a study's document and the notes of what it is and what it uses."""
    key = study.results_key()
    for ref in {key, *claims.refs.get(key, [])}:
        for name in (scores_ref(ref), used_ref(ref), study_ref(ref), timings_ref(ref)):
            claims.store.ref_path(name).unlink(missing_ok=True)


def _refuse_names(at_work: Collection[str | None], names: set[str] | None) -> None:
    for name in at_work:
        if names is None or name in names:
            what = "the catalogue of networks" if name is None else f"study {name}"
            raise JobError(
                f"a job is computing {what}; wait until it ends, or cancel it, then free its "
                "results"
            )
