"""Texts: where they are, as tokens, and cut into windows that a decoder takes as samples.

A file of plain text is one text. A line of a ``.jsonl`` file is one: ``{"text": …}``, or
``{"prompt": …, "reference": …}``, in which the second follows the first and is what a decoder's
own continuation of the first is scored by. A data set of the hub has columns of these names.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.data.hub import PREFIX, hub_rows
from klas.errors import DataError

_COLLECTIONS: dict[str, Callable[[str], Iterable["Text"]]] = {}


class MakesTokens(Protocol):
    """A tokenizer, as far as texts need one."""

    digest: str
    end: int | None

    def tokens(self, text: str) -> list[int]:
        """Of a text alone."""
        ...


@dataclass(frozen=True, kw_only=True)
class Text:
    """One text.

    Attributes:
        prompt: what a decoder may be asked to continue; empty for plain text.
        rest: the reference, or all of a plain text.
    """

    prompt: str
    rest: str


class Windows:
    """Windows of L + 1 tokens over all texts of a reference, one after another.

    The first L of a window are what a decoder sees, the last L what follows each of them. Texts
    are joined by the token that ends one, and what doesn't fill the last window is left out, so
    every sample has as many units as every other.

    Attributes:
        fingerprint: SHA-256 of the tokens and L.
        prompts: (prompt, reference) of the texts that have both.
        labels: (N,) zeros: no text has a class.
        class_names, passed_over, stored: as of images (:class:`klas.data.images.Images`).
    """

    class_names: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = MappingProxyType({})
    stored = False

    def __init__(self, ref: str, tokenizer: MakesTokens, length: int) -> None:
        """Read and cut.

        Args:
            ref: a ``.txt`` or ``.jsonl`` file, a folder of such, or ``hfds/owner/name:split``.
            length: L.

        Raises:
            DataError: there is no text, it is no text, or it is too short for one window.
        """
        texts = list(read_texts(ref))
        self.prompts = [(text.prompt, text.rest) for text in texts if text.prompt]
        self._length = length
        self._tokens = _joined(texts, tokenizer)
        count = (len(self._tokens) - 1) // length
        if count < 1:
            raise DataError(
                f"{ref}: has {len(self._tokens)} tokens, too few for one sample of {length} and "
                "the token that follows; give more text or lower [data] length"
            )
        self._count = count
        self.labels: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        digest = hashlib.sha256(f"klas-texts-1\n{tokenizer.digest}\n{length}\n".encode())
        digest.update(self._tokens.astype("<i4").tobytes())
        for prompt, reference in self.prompts:
            digest.update(json.dumps([prompt, reference]).encode())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        """How many windows there are."""
        return self._count

    def window(self, row: int) -> NDArray[np.int64]:
        """(L + 1,) the tokens of one; its last is the first of the next."""
        start = row * self._length
        return self._tokens[start : start + self._length + 1].astype(np.int64)


def text_batches(
    windows: Windows,
    rows: NDArray[np.int64],
    *,
    views: int,
    device: torch.device,
    batch: int,
) -> Iterator[tuple[Tensor, ...]]:
    """Batches of tokens (n, L), the same for each of some views, and the next ones (n, L).

    Args:
        windows: the texts.
        rows: (N,) which windows, in this order.
        views: how many decoders see them; all take a text alike.
        device: where the tensors are to be.
        batch: n; the last batch may have fewer.
    """
    for start in range(0, len(rows), batch):
        chunk = np.stack([windows.window(row) for row in rows[start : start + batch].tolist()])
        here = torch.from_numpy(chunk).to(device)
        yield (*[here[:, :-1]] * views, here[:, 1:])


def _joined(texts: Sequence[Text], tokenizer: MakesTokens) -> NDArray[np.int32]:
    made = [np.empty(0, dtype=np.int32)]
    for number, text in enumerate(texts):
        if number and tokenizer.end is not None:
            made.append(np.array([tokenizer.end], dtype=np.int32))
        # Apart, as a decoder that is given the prompt alone has them.
        made += [np.array(tokenizer.tokens(t), dtype=np.int32) for t in (text.prompt, text.rest)]
    return np.concatenate(made)


def register_texts(prefix: str, opener: Callable[[str], Iterable[Text]]) -> None:
    """Let ``opener`` give the texts of every reference that begins with ``prefix``."""
    _COLLECTIONS[prefix] = opener


def _opener(ref: str) -> Callable[[str], Iterable[Text]] | None:
    return next((each for prefix, each in _COLLECTIONS.items() if ref.startswith(prefix)), None)


def read_texts(ref: str) -> Iterator[Text]:
    """All texts of a reference, in order.

    Raises:
        DataError: there is none, or something is no text; the sentence says where.
    """
    if (opener := _opener(ref)) is not None:
        yield from opener(ref)
        return
    if ref.startswith(PREFIX):
        for number, row in enumerate(hub_rows(ref)):
            yield _text(row, f"{ref}: row {number}")
        return
    files = _files(ref)
    for file in files:
        try:
            content = file.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise DataError(f"{file}: is not UTF-8 text; save it as such") from None
        if file.suffix == ".jsonl":
            yield from _lines(file, content)
        elif content.strip():
            yield Text(prompt="", rest=content)


def _files(ref: str) -> list[Path]:
    path = Path(ref)
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix in (".txt", ".jsonl"))
    else:
        files = [path] if path.is_file() else []
    if not files:
        raise DataError(
            f"{ref}: there is no text; give a .txt or .jsonl file, a folder of such, or "
            f"{PREFIX}owner/name:split"
        )
    return files


def _lines(file: Path, content: str) -> Iterator[Text]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}: line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{where} is no JSON; each line of a .jsonl file is one text") from None
        yield _text(row, where)


def _text(row: Any, where: str) -> Text:
    """A line or a row as a text."""
    given = row if isinstance(row, dict) else {}
    wanted = ("prompt", "reference") if "prompt" in given else ("text",)
    if not all(isinstance(given.get(name), str) for name in wanted):
        have = f"its names are {', '.join(map(str, given))}" if given else "it has no names"
        raise DataError(
            f'{where} is no text: it has to be {{"text": …}} or {{"prompt": …, "reference": …}}, '
            f"each a string ({have})"
        )
    if wanted == ("text",):
        return Text(prompt="", rest=given["text"])
    return Text(prompt=given["prompt"], rest=given["reference"])
