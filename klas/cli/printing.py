"""Printing that cannot fail: to any terminal, file or pipe, in whatever encoding it has. Light."""

import codecs
import errno
import json
import os
from typing import Any, TextIO

_SPELLED = {
    "→": "->", "←": "<-", "–": "-", "−": "-", "—": "-", "…": "...", "·": "*", "×": "x", "≤": "<=",
    "≥": ">=", "‖": "||", "±": "+-", "’": "'", "√": "sqrt", "Γ": "Gamma", "Θ": "Theta",
    "Ω": "Omega", "Σ": "Sigma", "τ": "tau", "ρ": "rho",
}  # fmt: skip
"""What tables and messages say in letters of their own, where the encoding has no such letter."""


def prints_anywhere(*streams: TextIO) -> None:
    """Let streams spell out or mask what their encoding can't hold, instead of failing."""
    codecs.register_error("klas-spelled", _spell)
    for stream in streams:
        if hasattr(stream, "reconfigure"):  # not if a caller has put something else in its place
            stream.reconfigure(errors="klas-spelled")


def json_for(stream: TextIO, document: Any) -> str:
    """A document as JSON that the stream can hold as it is: else in ASCII, with escapes."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(document, indent=1)
    return text


def is_closed_pipe(error: OSError) -> bool:
    """Whether the reader of what is printed has left."""
    # Windows knows no broken pipe, only an argument that has become invalid.
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    spelled = "".join(_SPELLED.get(letter, "?") for letter in unknown)
    return spelled, error.end
