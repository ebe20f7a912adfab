"""The file of a pack: what it claims to hold, and whether it holds that.

An uncompressed zip: ``pack.json`` (the study, and each result's entry in the index),
``scores.json`` (its scores document) and ``objects/DIGEST.KIND``. It is not trusted: no name in it
is ever used as a path, and sizes are bounded by the file's own.
"""

import json
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from klas.errors import FormatError, StoreError, printable
from klas.foreign import reading
from klas.results.documents.numbers import Count, Sha256
from klas.results.documents.scores import ScoresDocument
from klas.results.formats import MOST_BYTES, check_known, check_version, parse
from klas.storage.files import BESIDE, move
from klas.study import Study, parse_study

FORMAT, VERSION = "klas-pack", 1
MANIFEST, DOCUMENT = "pack.json", "scores.json"

Kind = Literal["safetensors", "json"]


class PackedResult(BaseModel):
    """What the manifest says of a result, as the store's index does."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    digest: Sha256
    stage: Annotated[str, Field(pattern=r"^\w{1,40}$")]
    label: Annotated[str, Field(max_length=10_000), AfterValidator(printable)]
    kind: Kind
    sha256: Sha256
    bytes: Count

    @property
    def member(self) -> str:
        """The name of its file in the zip."""
        return f"objects/{self.digest}.{self.kind}"


class Manifest(BaseModel):
    """``pack.json``: the study and its results."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: str
    version: int
    study: dict[str, Any]
    results: tuple[PackedResult, ...]


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which has its name only when the block ends without an error.

    Raises:
        StoreError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: is not a file; name one to write the pack to")
    path = path.resolve()
    temporary = path.with_name(f"{BESIDE}{secrets.token_hex(6)}")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            move(temporary, path)
        finally:
            with suppress(OSError):  # what was wrong before is what counts
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever is wrong with its bytes, now or in a later read, is one sentence.

    Raises:
        FormatError: it cannot be read, is not a zip, or is damaged or cut off.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from None
    wrong = f"{path}: is not a pack, or is damaged or cut off"
    with file, reading(FormatError, wrong, "copy it again"):
        size = os.fstat(file.fileno()).st_size
        with zipfile.ZipFile(file) as archive:
            if not all(0 <= info.header_offset < size for info in archive.infolist()):
                raise zipfile.BadZipFile("a file in it lies outside it")
            yield archive


def read_manifest(archive: zipfile.ZipFile, path: Path) -> tuple[Manifest, Study]:
    """What the pack claims to hold, and its study.

    Raises:
        FormatError: there is no manifest, or it is of another form or from a newer klas.
        StudyError: its study is not valid.
    """
    if MANIFEST not in archive.namelist():
        raise FormatError(f"{path}: is not a pack: it holds no {MANIFEST}")
    text = _read_json(archive, MANIFEST, path)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: its {MANIFEST} is not JSON ({error})") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise FormatError(f"{path}: is not a pack: its {MANIFEST} has another format")
    check_version(str(path), raw.get("version"), VERSION)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"][-1] == "kind":
            check_known(str(path), "kind of result", first["input"], get_args(Kind))
        place = ".".join(map(str, first["loc"]))
        raise FormatError(f"{path}: its {MANIFEST}, at {place}: {first['msg'].lower()}") from None
    return manifest, parse_study(manifest.study, str(path))


def _read_json(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > MOST_BYTES:
        raise FormatError(f"{path}: its {name} is compressed or too large for one of a pack")
    return archive.read(info)


def check_members(archive: zipfile.ZipFile, manifest: Manifest, path: Path) -> None:
    """Check that the archive holds what the manifest says, once each, and nothing else.

    Raises:
        FormatError: it holds something else, or anything but plain bytes.
    """
    sizes = {r.member: r.bytes for r in manifest.results}
    if len(sizes) < len(manifest.results):
        raise FormatError(f"{path}: its {MANIFEST} names a result twice")
    wanted = {MANIFEST, DOCUMENT, *sizes}
    names = archive.namelist()
    if odd := sorted(set(names) - wanted):
        raise FormatError(f"{path}: holds {odd[0][:100]!r}, which does not belong in a pack")
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
            raise FormatError(f"{path}: {info.filename} does not have the size that it states")
    if sum(i.file_size for i in archive.infolist()) > path.stat().st_size:
        raise FormatError(f"{path}: claims to hold more than its own size")


def read_document(archive: zipfile.ZipFile, study: Study, path: Path) -> ScoresDocument:
    """The scores document, checked as any other.

    Raises:
        FormatError: it is not a valid one, or of another study.
    """
    data = _read_json(archive, DOCUMENT, path)
    document = parse(data, f"{path}: its {DOCUMENT}", "klas-scores")
    if parse_study(document["study"], str(path)).results_key() != study.results_key():
        raise FormatError(f"{path}: its {DOCUMENT} is of another study")
    return document
