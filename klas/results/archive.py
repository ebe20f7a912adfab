"""A study with all its results in one file, to compute on one machine and look on another.

The file (:mod:`klas.results.pack_file`) holds no time stamp: the same results give the same
bytes. Every result's checksum is verified before the first one enters the store. What a checksum
can't tell is whether the results are true: take packs from people you trust, as you do with any
result.
"""

import hashlib
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from klas.errors import FormatError, StoreError, StudyError
from klas.progress import Progress, Silent
from klas.results.documents.scores import ScoresDocument
from klas.results.formats import dumps
from klas.results.pack_file import (
    DOCUMENT,
    FORMAT,
    MANIFEST,
    VERSION,
    Manifest,
    PackedResult,
    check_members,
    open_archive,
    read_document,
    read_manifest,
    written_whole,
)
from klas.results.refs import note_used, scores_ref, stored_scores
from klas.results.stages import stages_done
from klas.results.usage import claimed
from klas.storage.files import new_folder
from klas.storage.index import Entry
from klas.storage.key import canonical_json
from klas.storage.saved_studies import open_study, save_study, saved_studies, study_path
from klas.storage.store import Store
from klas.study import Study, built_in_studies

CHUNK = 2**20


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What came out of a pack.

    Attributes:
        path: the saved study's file; None for the built-in one.
        results: how many the pack held.
        bytes: what they take.
        present: how many were in the store already.
        kept: how many of those differ from the pack's, as results of another machine may within
            rounding; the store's own stay.
    """

    study: Study
    path: Path | None
    results: int
    bytes: int
    present: int
    kept: int


def pack(store: Store, study: Study, path: Path, progress: Progress | None = None) -> int:
    """Write a study's results to a file, whole or not at all; returns how many they are.

    Raises:
        StudyError: it has the built-in study's name but is another one.
        StoreError: nothing of it is computed, a result is damaged, or the file cannot be written.
    """
    progress = progress or Silent()
    _check_name(study)
    with store.at_work(f"packing study {study.name}", study.results_key()):
        return _pack(store, study, path, progress)


def _pack(store: Store, study: Study, path: Path, progress: Progress) -> int:
    document = stored_scores(store, study)
    entries = claimed(store, study)
    if document is None or not entries:
        raise StoreError(f"study {study.name}: the store holds no results of it; run `klas run`")
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "study": study.model_dump(mode="json"),
        "results": [vars(e) for e in entries],
    }
    progress.start("pack", "results", len(entries))
    with written_whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST), canonical_json(manifest))
        archive.writestr(zipfile.ZipInfo(DOCUMENT), dumps(document))
        for entry in entries:
            progress.label(entry.label)
            name = f"objects/{entry.digest}.{entry.kind}"
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as out:
                _copy_result(store, entry, out)
            progress.advance(1)
    return len(entries)


def unpack(store: Store, path: Path, progress: Progress | None = None) -> Unpacked:
    """Take a pack's study and results into the store, all of them or none.

    What the store already has is kept: a result, a study of that name, and a scores document
    unless the pack's has more stages.

    Raises:
        FormatError: the file is not a pack, is cut off, is from a newer klas, or does not hold
            what its manifest says.
        StudyError: there is another study of that name here.
        StoreError: the cache folder cannot be written or has too little room.
    """
    progress = progress or Silent()
    with open_archive(path) as archive:
        manifest, study = read_manifest(archive, path)
        check_members(archive, manifest, path)
        _check_name(study)
        if study.name in saved_studies(store) and open_study(store, study.name) != study:
            raise StudyError(
                f"{path}: there is another study {study.name!r} here; rename it on the Studies "
                "page, then unpack again"
            )
        at_work = store.at_work(f"unpacking study {study.name}", study.results_key())
        with at_work, store.lock("unpack"), new_folder(store.root / "tmp") as scratch:
            document = read_document(archive, study, path)
            stored = {r.digest: _stored_sha256(store, r) for r in manifest.results}
            new = [r for r in manifest.results if stored[r.digest] is None]
            _check_room(store, sum(r.bytes for r in new))
            progress.start("unpack", "results", len(new))
            for result in new:
                progress.label(result.label)
                _extract(archive, result, scratch, path)
                progress.advance(1)
            for result in new:
                _adopt(store, result, scratch)
    _record(store, study, manifest, document)
    return Unpacked(
        study=study,
        path=_keep_study(store, study),
        results=len(manifest.results),
        bytes=sum(r.bytes for r in manifest.results),
        present=len(manifest.results) - len(new),
        kept=sum(stored[r.digest] not in (None, r.sha256) for r in manifest.results),
    )


def _check_name(study: Study) -> None:
    if built_in_studies().get(study.name, study) != study:
        raise StudyError(
            f"this study is named {study.name!r} like a built-in one, but is not the same; give "
            "it another name (its results stay)"
        )


def _copy_result(store: Store, entry: Entry, out: IO[bytes]) -> None:
    damaged = StoreError(
        f"{entry.label or entry.digest[:12]}: the stored result is missing or damaged; run "
        "`klas run` to make it again"
    )
    try:
        source = store.path_of(entry).open("rb")
    except OSError:
        raise damaged from None
    with source:
        if _copied(source, out) != (entry.sha256, entry.bytes):
            raise damaged


def _copied(source: IO[bytes], out: IO[bytes]) -> tuple[str, int]:
    """Copy in chunks; returns the SHA-256 and the size of what went through."""
    sha256, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        out.write(chunk)
        sha256.update(chunk)
        size += len(chunk)
    return sha256.hexdigest(), size


def _stored_sha256(store: Store, result: PackedResult) -> str | None:
    """The checksum of what the store has in a result's place; None if nothing whole."""
    entry = store.entry(result.digest)
    if entry is None:
        return None
    try:
        with store.path_of(entry).open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    except OSError:
        return None
    return entry.sha256 if whole else None


def _check_room(store: Store, needed: int) -> None:
    free = shutil.disk_usage(store.root).free
    if needed > free:
        raise StoreError(
            f"{store.root}: the pack needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free; "
            "free some room or name another folder with --cache-dir or KLAS_CACHE_DIR"
        )


def _extract(archive: zipfile.ZipFile, result: PackedResult, scratch: Path, path: Path) -> None:
    with archive.open(result.member) as source, (scratch / result.digest).open("xb") as out:
        if _copied(source, out)[0] != result.sha256:
            raise FormatError(f"{path}: {result.member} is damaged; copy the pack again")
        out.flush()
        os.fsync(out.fileno())


def _adopt(store: Store, result: PackedResult, scratch: Path) -> None:
    """Move a verified file to its place, unless another process was quicker."""
    with store.lock(result.digest):
        if _stored_sha256(store, result) is None:
            store.adopt(Entry(**result.model_dump()), scratch / result.digest)


def _record(store: Store, study: Study, manifest: Manifest, document: ScoresDocument) -> None:
    key = study.results_key()
    note_used(store, study, (r.digest for r in manifest.results))
    if _computed(stored_scores(store, study)) < _computed(document):
        store.set_ref(scores_ref(key), document)


def _computed(document: ScoresDocument | None) -> int:
    return sum(have for have, _ in stages_done(document).values())


def _keep_study(store: Store, study: Study) -> Path | None:
    if study.name in built_in_studies():
        return None
    if study.name in saved_studies(store):
        return study_path(store, study.name)
    return save_study(store, study)
