"""The JSON documents as files: written whole, and checked when they are read. No torch here."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, overload

from pydantic import ValidationError

from klas.errors import FormatError
from klas.foreign import read_at_most, reading
from klas.results.documents.comparison import Comparison
from klas.results.documents.exports import ExportNotes
from klas.results.documents.faults import fault
from klas.results.documents.networks import ElasticDocument, NetworkDocument
from klas.results.documents.schemas import FORMS, Form, adapter
from klas.results.documents.scores import ScoresDocument
from klas.results.documents.stitches import StitchList
from klas.storage.files import write_whole
from klas.study import TaskName
from klas.tasks.metric import MetricName

VERSION = 1
MOST_BYTES = 2**28  # of a document; the scores of half a million candidates take as many


def dumps(document: Mapping[str, Any]) -> bytes:
    """The bytes of a document: the same one always gives the same bytes."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write a document, whole or not at all."""
    write_whole(path, dumps(document))


@overload
def read(path: Path, form: Literal["klas-scores"]) -> ScoresDocument: ...
@overload
def read(path: Path, form: Literal["klas-stitches"]) -> StitchList: ...
@overload
def read(path: Path, form: Literal["klas-comparison"]) -> Comparison: ...
@overload
def read(path: Path, form: Literal["klas-network"]) -> NetworkDocument: ...
@overload
def read(path: Path, form: Literal["klas-elastic"]) -> ElasticDocument: ...
@overload
def read(path: Path, form: Literal["klas-export"]) -> ExportNotes: ...
def read(path: Path, form: Form) -> Any:
    """Read a document and check it.

    Raises:
        FormatError: the file is absent or larger than any, or what :func:`parse` refuses.
    """
    return parse(read_at_most(path, MOST_BYTES, FormatError), str(path), form)


@overload
def parse(data: bytes, name: str, form: Literal["klas-scores"]) -> ScoresDocument: ...
@overload
def parse(data: bytes, name: str, form: Literal["klas-stitches"]) -> StitchList: ...
@overload
def parse(data: bytes, name: str, form: Literal["klas-comparison"]) -> Comparison: ...
@overload
def parse(data: bytes, name: str, form: Literal["klas-network"]) -> NetworkDocument: ...
@overload
def parse(data: bytes, name: str, form: Literal["klas-elastic"]) -> ElasticDocument: ...
@overload
def parse(data: bytes, name: str, form: Literal["klas-export"]) -> ExportNotes: ...
def parse(data: bytes, name: str, form: Form) -> Any:
    """Check the bytes of a document; ``name`` is what a refusal calls them.

    Raises:
        FormatError: they are cut off, of another form, from a newer klas, or not as the form says;
            the sentence says where.
    """
    with reading(FormatError, f"{name}: cannot be a {form} file", "export it again"):
        return _parsed(data, name, form)


def _parsed(data: bytes, name: str, form: Form) -> Any:
    try:
        document: Any = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise FormatError(f"{name}: is not text; a {form} file is JSON") from None
    except json.JSONDecodeError as error:
        raise FormatError(
            f"{name}: is not complete JSON (line {error.lineno}: {error.msg.lower()}); "
            "it may be cut off, export it again"
        ) from None
    _check_form(document, name, form)
    try:
        adapter(form).validate_python(document)
    except ValidationError as error:
        raise FormatError(f"{name}: {fault(error, document)}") from None
    if form == "klas-stitches":
        _check_stitches(document, name)
    return document  # as it is in the file: pydantic's copy has 1.0 where the file has 1


def check_version(name: str, given: Any, version: int) -> None:
    """Refuse what is not of the version that this klas reads.

    Raises:
        FormatError: it is another version; a higher number is from a newer klas.
    """
    if type(given) is int and given > version:
        raise _from_newer_klas(name, f"has version {given}", f"version {version}")
    if given != version:
        raise FormatError(f"{name}: has version {given!r}, this klas reads version {version}")


def check_known(name: str, what: str, given: Any, known: tuple[str, ...]) -> None:
    """Refuse a name that this klas does not know; what can't be a name has another fault.

    Raises:
        FormatError: the file is from a newer klas.
    """
    if isinstance(given, str) and re.fullmatch(r"[\w-]{1,60}", given) and given not in known:
        raise _from_newer_klas(name, f"its {what} is {given!r}", " and ".join(map(repr, known)))


def _from_newer_klas(name: str, what: str, reads: str) -> FormatError:
    return FormatError(
        f"{name}: {what}, which is from a newer klas; this one reads {reads}; update klas"
    )


def _check_form(document: Any, name: str, form: Form) -> None:
    """The form is the one asked for, and nothing in it is from a newer klas."""
    given = document.get("format") if isinstance(document, dict) else None
    if given != form:
        if isinstance(given, str) and given.startswith("klas-"):
            check_known(name, "format", given, (*FORMS, "klas-pack"))
        raise FormatError(f"{name}: is not a {form} file (its format is {given!r})")
    check_version(name, document.get("version"), VERSION)
    check_known(name, "task", document.get("task"), get_args(TaskName))
    check_known(name, "accuracy_metric", document.get("accuracy_metric"), get_args(MetricName))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _check_stitches(document: StitchList, file: str) -> None:
    """What a type can't say: names that exist, block numbers in range."""
    anchors = {a["name"]: a for a in document["anchors"]}
    if len(anchors) < len(document["anchors"]):
        raise FormatError(f"{file}: two of its anchors have the same name")
    for k, stitch in enumerate(document["stitches"]):
        ends = (
            ("source", stitch["source"], stitch["source_block"], 1),
            ("target", stitch["target"], stitch["target_block"], 0),
        )
        for role, name, block, first in ends:
            if name not in anchors:
                raise FormatError(f"{file}: stitch {k}: {role} {name!r} is not one of its anchors")
            last = anchors[name]["blocks"] - (role == "target")
            if not first <= block <= last:
                raise FormatError(
                    f"{file}: stitch {k}: {role}_block {block} of {name} is out of range "
                    f"({first} to {last})"
                )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        FormatError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from None
