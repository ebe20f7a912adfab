"""Bytes that a stranger may have written: whatever they do to a reader, it ends in one sentence.

Readers of formats (TOML, JSON, pickles, tars, zips, safetensors) raise what they happen to meet in
damaged or hostile bytes: ``IndexError``, ``struct.error``, ``AssertionError``, ``RecursionError``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from klas.errors import KlasError, one_line


@contextmanager
def reading(refusal: type[KlasError], wrong: str, advice: str) -> Iterator[None]:
    """Let a block that reads foreign bytes raise nothing but a :class:`KlasError`.

    Errors of that family pass as they are.

    Args:
        refusal: what anything else is turned into.
        wrong: what was read and what it isn't, the beginning of the sentence.
        advice: what to do, its end.

    Raises:
        KlasError: the block failed.

    Examples:
        >>> from klas.errors import FormatError
        >>> with reading(FormatError, "list.json: is damaged", "copy it again"):
        ...     {}["format"]
        Traceback (most recent call last):
            ...
        klas.errors.FormatError: list.json: is damaged (KeyError: 'format'); copy it again
    """
    try:
        yield
    except KlasError:
        raise
    except Exception as error:  # there is no list of all that a parser may raise
        raise refusal(f"{wrong} ({one_line(error)}); {advice}") from None


def read_at_most(path: Path, most: int, refusal: type[KlasError]) -> bytes:
    """A whole file, unless it has more than ``most`` bytes.

    Raises:
        KlasError: of the type ``refusal``; it can't be read or is larger.

    Examples:
        >>> from klas.errors import FormatError
        >>> read_at_most(Path("none.json"), 100, FormatError)
        Traceback (most recent call last):
            ...
        klas.errors.FormatError: none.json: cannot be read (No such file or directory)
    """
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # a ValueError: it can't be the name of a file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise refusal(f"{path}: cannot be read ({reason})") from None
    if len(data) > most:
        raise refusal(f"{path}: has more than {most:,} bytes, which no such file has")
    return data
