"""The store's own small files: JSON in one line, and in the next its checksum.

An older klas wrote the JSON alone. That is read too, and has its checksum when it is next written.
"""

import hashlib
import json
from pathlib import Path
from typing import Any


def seal(value: Any) -> bytes:
    r"""A record's bytes; the keys of tables keep their order.

    >>> seal([1])
    b'[1]\nsha256:080a9ed428559ef602668b4c00f114f1a11c3f6b02a435f0bdc154578e4d7f22\n'
    """
    text = json.dumps(value, allow_nan=False).encode()
    return text + b"\n" + _checksum(text)


def unseal(data: bytes) -> Any:
    """What a record holds.

    Raises:
        ValueError: its checksum differs, or it is not JSON.

    >>> unseal(seal([1]))
    [1]
    >>> unseal(seal([1]).replace(b"1", b"2", 1))
    Traceback (most recent call last):
        ...
    ValueError: its checksum differs
    """
    text, _, rest = data.partition(b"\n")
    if rest and rest != _checksum(text):
        raise ValueError("its checksum differs")
    return parsed(text)


def is_unprotected(file: Path) -> bool:
    """Whether a record is one of an older klas, without a checksum."""
    try:
        return b"\n" not in file.read_bytes()
    except OSError:
        return False


def parsed(data: str | bytes) -> Any:
    """JSON of any origin.

    Raises:
        ValueError: for whatever is wrong with it; also if it is nested too deep.
    """
    try:
        return json.loads(data, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _checksum(text: bytes) -> bytes:
    return f"sha256:{hashlib.sha256(text).hexdigest()}\n".encode()


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
