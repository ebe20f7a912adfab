"""``klas cache``: list, verify, repair and clear what is stored; carry a study elsewhere."""

import argparse
from typing import Any

from klas.cli.steps import open_store, output
from klas.cli.tables.cache import cache_tables
from klas.cli.terminal import TerminalProgress
from klas.errors import KlasError
from klas.jobs.listing import studies_at_work
from klas.results import archive
from klas.results.formatting import size
from klas.results.freeing import (
    free_everything,
    free_networks,
    free_stage,
    free_study,
)
from klas.results.health import examine, mend
from klas.results.usage import StudyUsage, usage
from klas.storage.saved_studies import find_study


def ls(options: argparse.Namespace) -> None:
    """List what is stored, result by result and study by study."""
    with open_store(options) as store:
        entries = sorted(store.entries(), key=lambda e: (e.stage, e.label, e.digest))
        whole = usage(store)
        plain = {
            "root": str(store.root),
            "bytes": whole.bytes,
            "studies": [_study_entry(study_usage) for study_usage in whole.studies],
            "unclaimed_bytes": whole.unclaimed,
            "exports": whole.exports[0],
            "exports_bytes": whole.exports[1],
            "trained": whole.trained[0],
            "trained_bytes": whole.trained[1],
            "entries": [vars(entry) for entry in entries],
        }
        output(options, plain, lambda: cache_tables(store.root, entries, whole))


def _study_entry(study_usage: StudyUsage) -> dict[str, Any]:
    return {
        "name": study_usage.known.name,
        "origin": study_usage.known.origin,
        "problem": study_usage.known.problem or None,
        "results": study_usage.results,
        "bytes": study_usage.bytes,
        "freeable_bytes": study_usage.freeable,
        "shared_with": list(study_usage.shared_with),
        "stages": dict(study_usage.stages),
        "trainings": study_usage.trainings,
    }


def verify(options: argparse.Namespace) -> None:
    """Read all that is stored and compare checksums; exits 1 if something is wrong."""
    with open_store(options) as store:
        health = examine(store)
    output(options, health.to_json(), health.sentences)
    if health.problem:
        raise KlasError(health.problem)


def repair(options: argparse.Namespace) -> None:
    """Make the index again from the results, and delete what is damaged."""
    with open_store(options) as store:
        mended = mend(store)
    repaired = mended.results
    document = {
        "results": repaired.results,
        "listed": repaired.listed,
        "deleted": [vars(entry) for entry in repaired.deleted],
        "nameless": [file.name for file in repaired.nameless],
        "documents_deleted": list(mended.refs),
        "networks_deleted": list(mended.networks),
    }
    output(options, document, mended.sentences)


def clear(options: argparse.Namespace) -> None:
    """Delete results: all, one stage's, those that one study alone uses; or saved networks."""
    for name in ("exports", "trained"):
        if getattr(options, name) and options.study is not None:
            raise KlasError(f"--{name}: they go whichever study they are of; leave --study out")
    shared: list[str] = []
    with open_store(options) as store:
        at_work = studies_at_work(store)
        if options.study is not None:
            study = find_study(store, options.study)
            shared = [
                f"what it shares with {', '.join(study_usage.shared_with)} stays"
                for study_usage in usage(store).studies
                if study_usage.known.study == study and study_usage.shared_with
            ]
            freed = free_study(store, study, at_work=at_work, stage=options.stage)
        elif options.exports:
            freed = free_networks(store, "exports", at_work=at_work)
        elif options.trained:
            freed = free_networks(store, "trained", at_work=at_work)
        elif options.stage is not None:
            freed = free_stage(store, options.stage, at_work=at_work)
        else:
            freed = free_everything(store, at_work=at_work)
    output(options, {"freed_bytes": freed}, lambda: [f"freed {size(freed)}", *shared[:1]])


def pack(options: argparse.Namespace) -> None:
    """Write a study and its results to one file."""
    with open_store(options) as store:
        study = find_study(store, options.study)
        with TerminalProgress() as progress:
            count = archive.pack(store, study, options.out, progress)
    bytes_written = options.out.stat().st_size
    plain = {"study": study.name, "results": count, "bytes": bytes_written}
    line = f"wrote {options.out}: study {study.name}, {count} results, {size(bytes_written)}"
    output(options, plain, lambda: [line])


def unpack(options: argparse.Namespace) -> None:
    """Take the study and results of a file that :func:`pack` wrote into the store."""
    with open_store(options) as store, TerminalProgress() as progress:
        unpacked = archive.unpack(store, options.file, progress)
    plain = {
        "study": unpacked.study.name,
        "study_file": None if unpacked.path is None else str(unpacked.path),
        "results": unpacked.results,
        "bytes": unpacked.bytes,
        "present": unpacked.present,
        "kept": unpacked.kept,
    }
    lines = [
        f"study {unpacked.study.name}: {unpacked.results} results, {size(unpacked.bytes)}; "
        f"{unpacked.present} were here already"
    ]
    if unpacked.kept:
        lines.append(
            f"{unpacked.kept} of them differ from the file's, as results of another machine may "
            "within rounding; those that were here are kept"
        )
    if unpacked.path is not None:
        lines.append(f"its study file: {unpacked.path}")
    output(options, plain, lambda: lines)
