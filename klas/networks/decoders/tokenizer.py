"""What makes tokens of texts, and texts of tokens. Two decoders can be stitched if theirs agree."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

_LENGTHS = ("padding", "truncation")  # how batches are made, which is not the tokenizer's business


class Tokenizer:
    """A tokenizer of ``transformers``.

    Attributes:
        digest: SHA-256 of all that decides which tokens a text becomes.
        end: the token that ends a text; None if it has none.
        words: how many there are, by the greatest number of one.
    """

    def __init__(self, opened: Any) -> None:
        """Take one that ``transformers`` opened."""
        self._opened = opened
        self._parts = _parts(opened)
        text = json.dumps(self._parts, sort_keys=True, separators=(",", ":"))
        self.digest: str = hashlib.sha256(text.encode()).hexdigest()
        self.end: int | None = opened.eos_token_id
        self.words: int = 1 + max(opened.get_vocab().values(), default=-1)

    def tokens(self, text: str) -> list[int]:
        """Of a text alone, without what begins or ends one."""
        made: list[int] = self._opened(text, add_special_tokens=False, verbose=False)["input_ids"]
        return made

    def text(self, tokens: Sequence[int]) -> str:
        """Of tokens, without those that have no letters."""
        made: str = self._opened.decode(list(tokens), skip_special_tokens=True)
        return made

    def difference(self, other: "Tokenizer") -> str:
        """In what two that differ do so, for a sentence."""
        mine, theirs = self._opened.get_vocab(), other._opened.get_vocab()
        if mine != theirs:
            unlike = {word for word, _ in mine.items() ^ theirs.items()}
            first = min(unlike)
            return f"{len(unlike):,} of its words differ, such as {first!r}"
        odd = [part for part, value in self._parts.items() if other._parts.get(part) != value]
        return f"it differs in its {', '.join(odd) or 'kind'}"


def _parts(opened: Any) -> dict[str, Any]:
    inner = getattr(opened, "backend_tokenizer", None)
    if inner is None:
        return {"kind": type(opened).__qualname__, "vocabulary": opened.get_vocab()}
    parts: dict[str, Any] = json.loads(inner.to_str())
    return {name: value for name, value in parts.items() if name not in _LENGTHS}
