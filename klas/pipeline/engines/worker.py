"""A worker: a context of its own, in which it makes the shares that it is told to.

:func:`main` is one in a process of its own, told through pipes by engine ``processes``.
"""

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import torch

from klas.errors import KlasError, WorkerError
from klas.memory import peak_memory_bytes
from klas.pipeline.context import Context
from klas.pipeline.engines.shares import Content, Share, make_share
from klas.storage.store import Store
from klas.study import Study

TELL_EVERY = 0.1  # seconds between two reports of units done


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a worker has to know before it can make anything.

    Attributes:
        study: whose results it makes.
        root: its cache folder.
        device: where its networks run.
        threads: that torch computes with.
        allow_code: whether an anchor may be a Python function of the user's.
        path: where Python finds such a function, and this package.
    """

    study: Study
    root: Path
    device: str
    threads: int
    allow_code: bool
    path: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Order:
    """A share to make, and the digest of its result's key as the owner knows it."""

    share: Share
    digest: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a worker says: units done, or what it made, or why it can't; and its peak memory."""

    units: int = 0
    content: Content | None = None
    error: BaseException | None = None
    memory_bytes: int = 0


class Worker:
    """Makes shares of one study's results. Networks and data are opened once and kept.

    Attributes:
        store: its own.
    """

    def __init__(self, setting: Setting) -> None:
        if torch.get_num_threads() != setting.threads:  # see klas.pipeline.speed why not always
            torch.set_num_threads(setting.threads)
        self.store = Store(setting.root)
        self._context = Context(
            setting.study, self.store, device=setting.device, allow_code=setting.allow_code
        )

    def make(self, order: Order, tick: Callable[[int], None]) -> Content:
        """Make a share; arrays are in a file under the store's ``tmp`` folder.

        Raises:
            KlasError: it cannot be made here.
        """
        context, share = self._context, order.share
        digest = context.keys.of(share.result).digest
        if digest != order.digest:
            raise WorkerError(
                f"{context.keys.of(share.result).label}: this worker sees other weights, other "
                "data or another version of klas than the process that sent it; make them equal"
            )
        file = self.store.root / "tmp" / f"{digest}.{share.number}.rows"
        make = partial(make_share, share, context, file)
        content: Content = context.batch.retrying(make, tick)
        return content


def answer(worker: Worker, order: Order, tell: Callable[[Answer], None]) -> None:
    """Make a share, and tell of the units done meanwhile and of what comes of it."""
    told, done = time.monotonic(), 0

    def tick(units: int) -> None:
        nonlocal told, done
        done += units
        if time.monotonic() - told > TELL_EVERY:
            tell(Answer(units=done))
            told, done = time.monotonic(), 0

    try:
        content = worker.make(order, tick)
    except KlasError as error:
        tell(Answer(error=error))
    except Exception as error:
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        tell(Answer(error=error))
    else:
        tell(Answer(units=done, content=content, memory_bytes=peak_memory_bytes()))


def portable(what: Answer) -> Answer:
    """An answer that can be sent: another library's error may hold what can't travel."""
    try:
        pickle.loads(pickle.dumps(what.error))
    except Exception:
        return replace(what, error=RuntimeError(str(what.error)))
    return what


def main() -> None:
    """Do what comes through standard input until it is closed; answer on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's; it ends its workers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get into the answers
    orders: SimpleQueue[Any] = SimpleQueue()
    reader = threading.Thread(target=_read, args=(sys.stdin.buffer, orders), daemon=True)
    reader.start()
    tell = partial(_tell, answers)
    setting: Setting = orders.get()
    sys.path[:] = setting.path
    try:
        worker = Worker(setting)
    except Exception as error:
        tell(Answer(error=error))
        os._exit(1)  # an ordinary end would wait for the thread that reads
    tell(Answer())
    while True:
        answer(worker, orders.get(), tell)


def _read(source: BinaryIO, orders: "SimpleQueue[Any]") -> None:
    try:
        while True:
            orders.put(pickle.load(source))
    except Exception:  # not EOFError alone: the owner may have ended in the middle of an order
        os._exit(0)  # it is gone, however it ended: nobody wants what is being made


def _tell(target: BinaryIO, what: Answer) -> None:
    try:
        pickle.dump(portable(what), target)
        target.flush()
    except OSError:
        os._exit(0)  # the owner is gone
