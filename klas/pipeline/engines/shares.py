"""Shares: the parts of a result that can be made apart, by whomever, and are joined by its owner.

A recipe alone says what the shares are, from the study, so that every engine cuts a result in the
same way and joins the same bytes. In the joined result an array that several shares have is
theirs in order, one after another; what one share alone has stands as it is.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from klas.measures.sweep import Append, Tick
from klas.pipeline.context import Context
from klas.pipeline.recipes.recipe import Rows
from klas.pipeline.recipes.registry import recipe_of
from klas.results.result import Result
from klas.storage.arrays import Arrays, ArrayWriter, Shapes, chunks, views
from klas.storage.key import Key
from klas.storage.store import Store

JOIN_BYTES = 2**24  # of a share's array that are in memory while shares are joined


@dataclass(frozen=True, kw_only=True)
class Share:
    """A part of a result: number ``number`` of ``of``."""

    result: Result
    number: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Content:
    """A share that was made: a JSON value, or a file of arrays.

    Attributes:
        kind: ``json`` or ``safetensors``.
        value: what JSON holds.
        file: where the arrays are, on the disk of whoever made them.
        sha256, bytes: of the file.
    """

    kind: str
    value: Any = None
    file: Path | None = None
    sha256: str = ""
    bytes: int = 0


def shares_of(result: Result, context: Context) -> list[Share]:
    """A result's shares, in order."""
    of = len(recipe_of(result).shares(result, context))
    return [Share(result=result, number=number, of=of) for number in range(of)]


def make_here(result: Result, context: Context, tick: Tick) -> Any:
    """Make every share, one after another, and join them.

    Returns:
        The value; None if it is stored already, because it comes in rows or in several shares.
    """
    values = [make(tick) for make in recipe_of(result).shares(result, context)]
    if len(values) == 1 and not isinstance(values[0], Rows):
        return values[0]
    parts = [rows for value in values if (rows := _as_rows(value)) is not None]
    _store_rows(context.store, context.keys.of(result), parts)
    return None


def make_share(share: Share, context: Context, file: Path, tick: Tick) -> Content:
    """Make one share; its arrays go to ``file``."""
    value = recipe_of(share.result).shares(share.result, context)[share.number](tick)
    rows = _as_rows(value)
    if rows is None:
        return Content(kind="json", value=value)
    with ArrayWriter(file, rows.shapes) as out:
        rows.fill(out.append)
        sha256 = out.finish()
    return Content(kind="safetensors", file=file, sha256=sha256, bytes=out.bytes)


def store_shares(store: Store, key: Key, made: Sequence[Content]) -> None:
    """Put a result whose shares are files of this disk into the store; the files are gone then.

    Args:
        made: every share, in order.
    """
    if made[0].kind == "json":
        store.put(key, made[0].value)
        return
    if len(made) == 1:
        (only,) = made
        assert only.file is not None
        store.take(key, only.file, sha256=only.sha256, size=only.bytes)
        return
    files = [content.file for content in made if content.file is not None]
    _store_rows(store, key, [_rows_of(file) for file in files])
    for file in files:
        file.unlink(missing_ok=True)


def _store_rows(store: Store, key: Key, parts: Sequence[Rows]) -> None:
    with store.writing(key, _joined_shapes([rows.shapes for rows in parts])) as out:
        for rows in parts:
            rows.fill(out.append)


def _joined_shapes(parts: Sequence[Shapes]) -> Shapes:
    joined: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    for shapes in parts:
        for name, (shape, dtype) in shapes.items():
            before = joined[name][0][0] if name in joined else 0
            joined[name] = ((before + shape[0], *shape[1:]) if shape else shape, dtype)
    return joined


def _as_rows(value: Any) -> Rows | None:
    """Arrays in either form; None for what JSON holds."""
    if isinstance(value, Rows):
        return value
    if isinstance(value, dict) and value and all(isinstance(v, np.ndarray) for v in value.values()):
        return _rows(value)
    return None


def _rows(arrays: Arrays) -> Rows:
    def fill(append: Append) -> None:
        for name, array in arrays.items():
            if not array.ndim:
                append(name, array)
                continue
            # A part at a time, so that a mapped file is never in memory as a whole.
            height = max(1, JOIN_BYTES * max(1, len(array)) // max(1, array.nbytes))
            for part in chunks(array, height):
                append(name, part)

    shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    return Rows(shapes=shapes, fill=fill)


def _rows_of(file: Path) -> Rows:
    with file.open("rb") as opened:
        return _rows(views(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)))
