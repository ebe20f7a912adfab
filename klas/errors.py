"""Everything that KLAS refuses. One sentence each: what was wrong, where, and what to do."""

from collections.abc import Iterable

LONGEST = 2_000  # characters of a sentence; a stranger's file may name a thing with a million


class KlasError(Exception):
    """The root of the family; the command exits with status 1 on any of them.

    Its text is one line that can be printed anywhere, whatever a stranger's names put into it.
    """

    def __init__(self, sentence: str) -> None:
        """Keep the sentence, as :func:`printable` shows it and shortened in the middle."""
        if len(sentence) > LONGEST:
            sentence = f"{sentence[: LONGEST // 2]} … {sentence[-LONGEST // 3 :]}"
        super().__init__(printable(sentence))


class StudyError(KlasError):
    """A study (its file, its anchors' names, its pairs, its settings) makes no sense."""


class DataError(KlasError):
    """The data cannot be found or does not suit the anchors."""


class AnchorError(KlasError):
    """A network cannot be built, loaded or cut, or two of them cannot be stitched."""


class SelectionError(KlasError):
    """A selection was asked for that the scores at hand cannot answer."""


class DivergedError(KlasError):
    """A training's loss is no longer a number."""


class ExportError(KlasError):
    """A network cannot be exported, or what was written does not give its outputs."""


class FormatError(KlasError):
    """A file of ours is cut off, of another version, or contradicts itself."""


class StoreError(KlasError):
    """The cache folder cannot be read or written."""


class JobError(KlasError):
    """A background job cannot be started, watched or cancelled."""


class WorkerError(KlasError):
    """A process or a host that makes results cannot begin, or died."""


def printable(text: str) -> str:
    r"""A text on one line, without the control characters that would steer a terminal.

    >>> printable("two\nlines and a \x1b[31mcolour")
    'two lines and a �[31mcolour'
    """
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def one_line(error: Exception) -> str:
    """Another library's error, to quote in a sentence: its type and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def listing(names: Iterable[str]) -> str:
    """The first three names, quoted, and how many there are if there are more.

    >>> listing(["head.weight", "head.bias"])
    "'head.weight', 'head.bias'"
    >>> listing("abcde")
    "'a', 'b', 'c' … (5 in all)"
    """
    listed = list(names)
    shown = ", ".join(repr(name) for name in listed[:3])
    return shown if len(listed) <= 3 else f"{shown} … ({len(listed)} in all)"
