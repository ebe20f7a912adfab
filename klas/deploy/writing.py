"""A saved network is a folder: safetensors, and ``config.json`` with a digest of its own."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast, overload

from torch import Tensor

from klas.deploy.tensors import write_tensors
from klas.errors import FormatError, StoreError
from klas.foreign import read_at_most
from klas.results.documents.networks import ElasticDocument, NetworkDocument
from klas.results.formats import MOST_BYTES, dumps, parse, write
from klas.storage.files import write_whole

CONFIG = "config.json"

Document = NetworkDocument | ElasticDocument


def write_folder(
    folder: Path,
    document: Document,
    tensors: Mapping[str, Tensor],
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write a network; what lies beside it in the folder stays.

    ``config.json`` comes last: without it the folder is no network.

    Args:
        beside: more files, by name.

    Raises:
        StoreError: the folder holds another network, or cannot be written.
    """
    if (folder / CONFIG).exists():
        raise StoreError(f"{folder}: holds a network already; name another folder, or remove it")
    weights = write_tensors(folder, tensors)
    for name, data in (beside or {}).items():
        write_whole(folder / name, data)
    write(signed(cast(Document, {**document, "weights": weights})), folder / CONFIG)


def signed(document: Document) -> Document:
    """A document with the digest of all else in it."""
    return cast(Document, {**document, "digest": _digest(document)})


@overload
def read_config(folder: Path, form: Literal["klas-network"]) -> NetworkDocument: ...
@overload
def read_config(folder: Path, form: Literal["klas-elastic"]) -> ElasticDocument: ...
def read_config(folder: Path, form: Literal["klas-network", "klas-elastic"]) -> Document:
    """The ``config.json`` of a saved network.

    Raises:
        FormatError: it is not there, damaged, or of another form.
    """
    file = folder / CONFIG
    document: Document = parse(_bytes(file), str(file), form)
    if document["digest"] != _digest(document):
        raise FormatError(f"{file}: was changed since it was saved; copy the folder again")
    return document


def form_of(folder: Path) -> str | None:
    """What a saved folder holds, ``klas-network`` or ``klas-elastic``; None where nothing says so.

    Raises:
        FormatError: there is no such folder, or nothing of a network in it.
    """
    try:
        stated = json.loads(_bytes(folder / CONFIG))
        form = stated.get("format")
    except (ValueError, AttributeError, RecursionError):
        return None
    return form if isinstance(form, str) else None


def _bytes(file: Path) -> bytes:
    try:
        return read_at_most(file, MOST_BYTES, FormatError)
    except FormatError as error:
        raise FormatError(f"{error}; a saved network is a folder with this file") from None


def _digest(document: Document) -> str:
    rest = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(dumps(rest)).hexdigest()
