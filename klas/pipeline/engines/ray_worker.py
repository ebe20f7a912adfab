"""A worker on a Ray cluster: an actor that keeps its networks open and hands back what it makes.

It shares no disk with the owner. What a share needs comes through Ray's object store and is kept
in the worker's own folder; what it makes goes back piece by piece as the items of a generator,
between the reports of units done, so that no file is in memory as a whole.
"""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.errors import AnchorError, DataError, KlasError, StoreError, WorkerError
from klas.pipeline.engines.shares import Content
from klas.pipeline.engines.worker import Answer, Order, Setting, Worker, answer, portable
from klas.pipeline.engines.worker_folder import WorkerFolder
from klas.storage.index import Entry

PIECE_BYTES = 2**26  # of a file that travel at once
OF_THE_HOST = (DataError, AnchorError, StoreError, WorkerError)
"""What another host might not say."""

Piece = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Need:
    """A stored result that others are made from: what it is, and its file in Ray's store."""

    entry: Entry
    pieces: Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What a worker says first: where it is, with which versions, and why it can't begin."""

    host: str
    node: str
    process: int
    versions: dict[str, str]
    error: BaseException | None = None


def versions() -> dict[str, str]:
    """Of what has to be the same on all hosts, or their bytes might differ."""
    return {name: version(name) for name in ("klas", "torch", "timm")}


def check_versions(host: str, there: dict[str, str], here: dict[str, str]) -> None:
    """Refuse a host whose results might be others.

    Raises:
        WorkerError: a version differs.
    """
    differing = [name for name in here if there.get(name) != here[name]]
    if differing:
        theirs = ", ".join(f"{name} {there.get(name, 'unknown')}" for name in differing)
        ours = ", ".join(f"{name} {here[name]}" for name in differing)
        raise WorkerError(
            f"host {host}: has {theirs}, this machine {ours}; install the same versions on "
            "every host of the cluster"
        )


def pieces_of(file: Path) -> Iterator[Piece]:
    """A file's bytes, in pieces."""
    if not file.stat().st_size:
        return
    every = np.memmap(file, dtype=np.uint8, mode="r")
    for start in range(0, len(every), PIECE_BYTES):
        yield np.asarray(every[start : start + PIECE_BYTES])


class PieceWriter:
    """Writes a file that comes in pieces.

    Attributes:
        file: where it is written.

    Raises:
        StoreError: it cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._hash = hashlib.sha256()
        file.unlink(missing_ok=True)

    def add(self, piece: Piece) -> None:
        """Write the next piece."""
        try:
            with self.file.open("ab") as out:
                out.write(piece.data)
        except OSError as error:
            raise StoreError(f"{self.file}: cannot be written ({error.strerror})") from None
        self._hash.update(piece.data)

    def is_whole(self, sha256: str) -> bool:
        """Whether what was written is what was sent."""
        return self._hash.hexdigest() == sha256


class RayWorker:
    """The actor."""

    def __init__(self, setting: Setting, owner: str) -> None:
        """Note what is to be done; :meth:`begin` says what comes of it.

        Args:
            setting: its ``root`` is not used.
            owner: a name for the crew that this worker belongs to.
        """
        self._setting = setting
        self._owner = owner

    def begin(self, opened: Sequence[Need]) -> Begun:
        """Take a folder and a device.

        Args:
            opened: what the owner found out when it opened the study.
        """
        import ray

        node = ray.get_runtime_context().get_node_id()
        begun = Begun(
            host=socket.gethostname(), node=node, process=os.getpid(), versions=versions()
        )
        try:
            self._folder = WorkerFolder(folder_name(self._owner, node))
            self._worker = Worker(replace(self._setting, root=self._folder.path))
            for need in opened:
                self._have(need)
        except Exception as error:
            return replace(begun, error=portable(Answer(error=_of_this_host(error))).error)
        return begun

    def make(self, order: Order, needs: Sequence[Need]) -> Iterator[Answer | Piece]:
        """Make a share; its content's file, if it has one, comes in pieces before the last answer.

        Args:
            needs: stored results; those that are here already are not fetched.
        """
        try:
            for need in needs:
                self._have(need)
        except KlasError as error:
            yield Answer(error=_of_this_host(error))
            return
        answers: SimpleQueue[Answer] = SimpleQueue()
        made = threading.Thread(target=answer, args=(self._worker, order, answers.put), daemon=True)
        made.start()
        while True:
            said = answers.get()
            if said.error is not None:
                yield portable(replace(said, error=_of_this_host(said.error)))
                return
            if said.content is None:
                yield said
                continue
            yield from self._handed_over(said, said.content)
            return

    def _handed_over(self, said: Answer, content: Content) -> Iterator[Answer | Piece]:
        if content.file is not None:
            yield from pieces_of(content.file)
            content.file.unlink()
        yield replace(said, content=replace(content, file=None))

    def _have(self, need: Need) -> None:
        """Take a result into this worker's store, if it isn't there."""
        import ray

        entry, store = need.entry, self._worker.store
        with store.lock(entry.digest):  # another worker of this host may be at it
            if store.entry(entry.digest) is not None:
                return
            writer = PieceWriter(store.root / "tmp" / f"{entry.digest}.rows")
            for piece in need.pieces:
                writer.add(ray.get(piece))
            if not writer.is_whole(entry.sha256):
                raise WorkerError(f"{entry.label}: it was damaged on its way; run it again")
            store.adopt(entry, writer.file)


def folder_name(owner: str, node: str) -> str:
    """The folder of a crew's workers on a node; one host may have several nodes."""
    return f"{owner}-{node[:12]}"


def _of_this_host(error: BaseException) -> BaseException:
    """An error that names the host which it is about."""
    if isinstance(error, OF_THE_HOST):
        return type(error)(f"host {socket.gethostname()}: {error}")
    return error
