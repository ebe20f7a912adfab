"""A study with all its results in one file, to compute on one machine and look on another.

The file is an uncompressed zip: ``pack.json`` (the study, and of every result what the index
knows), ``scores.json`` (its scores document) and ``objects/DIGEST.KIND``. It holds no time
stamp: the same results give the same bytes. It is read with suspicion: no name in it is ever
used as a path, sizes are bounded by the file's own, and every result's checksum is verified
before the first one enters the store. What a checksum can't tell is whether the results are
true: take packs from people you trust, as you do with any result.
"""

import hashlib
import json
import os
import secrets
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from klas.errors import FormatError, StoreError, StudyError
from klas.progress import Progress, Silent
from klas.results import formats as exports
from klas.results.usage import changing, claimed, stages_done
from klas.storage.saved_studies import open_study, save_study, saved_studies, study_path
from klas.storage.store import Entry, Store, canonical_json
from klas.study import DIGITS, Study, parse_study

FORMAT, VERSION = "klas-pack", 1
MANIFEST, DOCUMENT = "pack.json", "scores.json"
JSON_BYTES = 2**28  # of either: a quarter of a million results have a tenth of it
CHUNK = 2**20

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _printable(text: str) -> str:
    """Labels are shown on terminals: none may steer one."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    digest: _Sha256
    stage: Annotated[str, Field(pattern=r"^\w{1,40}$")]
    label: Annotated[str, Field(max_length=10_000), AfterValidator(_printable)]
    kind: Literal["safetensors", "json"]
    sha256: _Sha256
    bytes: Annotated[int, Field(ge=0)]

    @property
    def member(self) -> str:
        return f"objects/{self.digest}.{self.kind}"


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: str
    version: int
    study: dict[str, Any]
    results: tuple[_Result, ...]


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
        StudyError: it bears the built-in study's name but is another.
        StoreError: nothing of it is computed, a result is damaged, or the file cannot be written.
    """
    progress = progress or Silent()
    _check_name(study)
    document = store.get_ref(f"scores-{study.results_key()}")
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
    with _written(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST), canonical_json(manifest))
        archive.writestr(zipfile.ZipInfo(DOCUMENT), exports.dumps(document))
        for entry in entries:
            progress.label(entry.label)
            name = f"objects/{entry.digest}.{entry.kind}"
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as out:
                _copy_result(store, entry, out)
            progress.advance(1)
    return len(entries)


def unpack(store: Store, path: Path, progress: Progress | None = None) -> Unpacked:
    """Take a pack's study and results into the store, all of them or none.

    What the store has stays as it is: a result, a study of that name, and a scores document
    unless the pack's says of more stages.

    Raises:
        FormatError: the file is no pack, cut off, of another version, or not as it says itself.
        StudyError: there is another study of that name here.
        StoreError: the cache folder cannot be written or has too little room.
    """
    progress = progress or Silent()
    with _opened(path) as archive:
        manifest, study = _read_manifest(archive, path)
        _check_members(archive, manifest, path)
        _check_name(study)
        if study.name in saved_studies(store) and open_study(store, study.name) != study:
            raise StudyError(
                f"{path}: there is another study {study.name!r} here; rename it on the Studies "
                "page, then unpack again"
            )
        scratch = store.root / "tmp" / "unpack"
        # Killed, it leaves the folder: the next one, and `klas cache clear`, take it away.
        with store.lock("unpack"), changing(store):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            try:
                document = _read_document(archive, study, path)
                found = {r.digest: _here(store, r) for r in manifest.results}
                new = [r for r in manifest.results if found[r.digest] is None]
                _check_room(store, sum(r.bytes for r in new))
                progress.start("unpack", "results", len(new))
                for result in new:
                    progress.label(result.label)
                    _take_out(archive, result, scratch, path)
                    progress.advance(1)
                for result in new:
                    _enter(store, result, scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    _note(store, study, manifest, document)
    return Unpacked(
        study=study,
        path=_keep_study(store, study),
        results=len(manifest.results),
        bytes=sum(r.bytes for r in manifest.results),
        present=len(manifest.results) - len(new),
        kept=sum(found[r.digest] not in (None, r.sha256) for r in manifest.results),
    )


def _check_name(study: Study) -> None:
    if study.name == DIGITS.name and study != DIGITS:
        raise StudyError(
            f"this study is named {DIGITS.name!r} as the built-in one, but is another; give it "
            "another name (its results stay)"
        )


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """A file that is there under its name when the block ends, or not at all."""
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: is no file; name one to write the pack to")
    path = path.resolve()
    temporary = path.with_name(f".klas-{secrets.token_hex(6)}")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None


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


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever is wrong with its bytes, now or in a later read, is one sentence."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from None
    broken = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OverflowError)
    with file:
        try:
            with zipfile.ZipFile(file) as archive:
                if any(info.header_offset < 0 for info in archive.infolist()):
                    raise zipfile.BadZipFile("a file in it begins before it")
                yield archive
        except broken as error:
            raise FormatError(
                f"{path}: is no pack, or is damaged or cut off ({error}); copy it again"
            ) from None


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> tuple[_Manifest, Study]:
    if MANIFEST not in archive.namelist():
        raise FormatError(f"{path}: is no pack: it holds no {MANIFEST}")
    text = _read_json(archive, MANIFEST, path)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: its {MANIFEST} is no JSON ({error})") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise FormatError(f"{path}: is no pack: its {MANIFEST} has another format")
    if raw.get("version") != VERSION:
        raise FormatError(
            f"{path}: has version {raw.get('version')!r}, this klas reads version {VERSION}"
        )
    try:
        manifest = _Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise FormatError(f"{path}: its {MANIFEST}, at {place}: {first['msg'].lower()}") from None
    return manifest, parse_study(manifest.study, str(path))


def _read_json(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > JSON_BYTES:
        raise FormatError(f"{path}: its {name} is compressed or too large for one of a pack")
    return archive.read(info)


def _check_members(archive: zipfile.ZipFile, manifest: _Manifest, path: Path) -> None:
    """The archive holds what the manifest says, once each, as plain bytes, and nothing else."""
    sizes = {r.member: r.bytes for r in manifest.results}
    if len(sizes) < len(manifest.results):
        raise FormatError(f"{path}: its {MANIFEST} names a result twice")
    wanted = {MANIFEST, DOCUMENT, *sizes}
    names = archive.namelist()
    if odd := sorted(set(names) - wanted):
        raise FormatError(f"{path}: holds {odd[0][:100]!r}, which no pack holds")
    if missing := sorted(wanted - set(names)):
        raise FormatError(f"{path}: lacks {missing[0]}")
    if len(names) > len(wanted):
        raise FormatError(f"{path}: holds a file twice")
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
        if not plain or kind not in (0, stat.S_IFREG) or info.file_size != info.compress_size:
            raise FormatError(f"{path}: {info.filename} is a link, compressed or encrypted")
        if sizes.get(info.filename, info.file_size) != info.file_size:
            raise FormatError(f"{path}: {info.filename} has another size than it says")
    if sum(i.file_size for i in archive.infolist()) > path.stat().st_size:
        raise FormatError(f"{path}: claims to hold more than its own size")


def _read_document(archive: zipfile.ZipFile, study: Study, path: Path) -> Any:
    data = _read_json(archive, DOCUMENT, path)
    document = exports.parse(data, f"{path}: its {DOCUMENT}", "klas-scores")
    if parse_study(document["study"], str(path)).results_key() != study.results_key():
        raise FormatError(f"{path}: its {DOCUMENT} is of another study")
    return document


def _here(store: Store, result: _Result) -> str | None:
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


def _take_out(archive: zipfile.ZipFile, result: _Result, scratch: Path, path: Path) -> None:
    with archive.open(result.member) as source, (scratch / result.digest).open("xb") as out:
        if _copied(source, out)[0] != result.sha256:
            raise FormatError(f"{path}: {result.member} is damaged; copy the pack again")
        out.flush()
        os.fsync(out.fileno())


def _enter(store: Store, result: _Result, scratch: Path) -> None:
    """Bring a verified file to its place, unless another process was quicker."""
    with store.lock(result.digest):
        if _here(store, result) is None:
            store.adopt(Entry(**result.model_dump()), scratch / result.digest)


def _note(store: Store, study: Study, manifest: _Manifest, document: Any) -> None:
    key = study.results_key()
    with store.lock(f"used-{key}"):
        known = set(store.get_ref(f"used-{key}") or ())
        store.set_ref(f"used-{key}", sorted(known | {r.digest for r in manifest.results}))
    if _computed(store.get_ref(f"scores-{key}")) < _computed(document):
        store.set_ref(f"scores-{key}", document)


def _computed(document: Any) -> int:
    return sum(have for have, _ in stages_done(document).values())


def _keep_study(store: Store, study: Study) -> Path | None:
    if study == DIGITS:
        return None
    if study.name in saved_studies(store):
        return study_path(store, study.name)
    return save_study(store, study)
