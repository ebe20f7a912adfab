"""The files of results, each with its description beside it: what the result is, and its checksum.

So the index can be made again from them. An older klas wrote no descriptions; a result of its gets
one when it is next read.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import get_args

from klas.storage.index import Entry, Kind, read_entry
from klas.storage.records import unseal

FOLDER = "objects"
DESCRIPTION = "entry"  # the ending


def place(root: Path, digest: str, kind: str) -> Path:
    """Where a result's file is, or with the kind ``entry`` its description."""
    # From a known ending and the digest alone: an index row can't point outside the folder.
    return root / FOLDER / digest[:2] / f"{digest}.{kind}"


def described(file: Path) -> Entry | None:
    """What a description says; None where there is none, or none that is whole."""
    with suppress(OSError, ValueError):
        entry = read_entry(unseal(file.read_bytes()))
        if entry.digest == file.stem:
            return entry
    return None


def files_of_results(root: Path, begins: str = "*") -> Iterator[Path]:
    """The files of all results that are there, whether the index knows them or not.

    Args:
        begins: the first two digits of the digests.
    """
    for folder in sorted((root / FOLDER).glob(begins)):
        for file in sorted(folder.glob("*")):
            named = re.fullmatch(r"[0-9a-f]{64}", file.stem) and file.suffix[1:] in get_args(Kind)
            if named and file == place(root, file.stem, file.suffix[1:]):
                yield file


def is_whole(root: Path, entry: Entry) -> bool:
    """Whether a result's file is the one that was stored."""
    return sha256_of(place(root, entry.digest, entry.kind)) == entry.sha256


def sha256_of(file: Path) -> str | None:
    """A file's checksum; None if it cannot be read."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return None
