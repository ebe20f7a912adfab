"""Who may write in a store now: any number at once, but nobody while somebody clears it.

Everything that writes holds a shared lock meanwhile, and a command or a job holds one as long as it
is at work, so that no result goes that it counts on. Whoever deletes results takes the lock alone:
he waits for a write in hand, and is told who is at work. The results of one study can be deleted
while another is computed. The locks are the operating system's and die with their holder.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from uuid import uuid4

from klas.errors import StoreError
from klas.storage.locks import can_lock, is_locked, try_lock
from klas.storage.records import parsed

PATIENCE = 10.0  # seconds for writes in hand to end
LOOK_EVERY = 0.05


class Gate:
    """The locks of one store.

    Args:
        folder: where their files are; it is there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine = threading.local()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """While something is written. Waits while somebody clears."""
        if getattr(self._mine, "held", 0):  # by this thread: it may even be alone
            yield
            return
        with self._shared(None), self._holding():
            yield

    @contextlib.contextmanager
    def at_work(self, what: str, study: str | None = None) -> Iterator[None]:
        """While results are computed, which are then needed.

        Args:
            what: who is at work, for whoever wants to clear.
            study: the results key of the study whose results are needed; None for no study's.
        """
        with contextlib.ExitStack() as held:
            held.enter_context(self._shared(None))
            if study is not None:
                held.enter_context(self._shared(study))
            held.enter_context(self._note(what, study))
            held.enter_context(self._holding())
            yield

    @contextlib.contextmanager
    def alone(self, study: str | None = None) -> Iterator[None]:
        """While results are deleted: of one study, or any.

        Raises:
            StoreError: somebody is at work.
        """
        with contextlib.ExitStack() as held:
            if study is not None:
                held.enter_context(self._shared(None))
            lock = held.enter_context(self._opened(self._path(study)))
            ends = time.monotonic() + PATIENCE
            while not try_lock(lock):
                at_work = self._at_work(study)
                if at_work or time.monotonic() > ends:
                    raise StoreError(
                        f"{self._folder.parent}: {at_work or 'somebody'} is at work in this cache; "
                        "wait until that ends, or stop it, then delete results"
                    )
                time.sleep(LOOK_EVERY)
            held.enter_context(self._holding())
            yield

    @contextlib.contextmanager
    def if_alone(self) -> Iterator[bool]:
        """Alone if nobody writes or is at work just now; says whether that is known to be so."""
        with self._opened(self._path(None)) as lock:
            if not can_lock() or not try_lock(lock):
                yield False
                return
            with self._holding():
                yield True

    def forget_dead(self) -> None:
        """Delete the notes of those who ended without doing so."""
        for note in self._folder.glob("at-work-*"):
            if not is_locked(note):
                note.unlink(missing_ok=True)

    def _at_work(self, study: str | None) -> str:
        """Whoever is at work (on this study): the first of them."""
        for note in sorted(self._folder.glob("at-work-*")):
            if is_locked(note):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    noted = parsed(note.read_bytes())
                    if study is None or noted["study"] == study:
                        return f"{str(noted['what'])[:200]!r} (process {int(noted['process'])})"
        return ""

    def _path(self, study: str | None) -> Path:
        return self._folder / ("in-use" if study is None else f"in-use-{study}")

    @contextlib.contextmanager
    def _shared(self, study: str | None) -> Iterator[None]:
        with self._opened(self._path(study)) as lock:
            try_lock(lock, shared=True, wait=True)
            yield

    @contextlib.contextmanager
    def _note(self, what: str, study: str | None) -> Iterator[None]:
        path = self._folder / f"at-work-{uuid4().hex}"
        note = {"what": what, "study": study, "process": os.getpid()}
        with self._opened(path) as file:
            try:
                try_lock(file, wait=True)  # somebody may look just now
                with contextlib.suppress(OSError):  # on a full disk it only has no name
                    file.write(json.dumps(note).encode())
                yield
            finally:
                with contextlib.suppress(OSError):  # else whoever comes next deletes it
                    path.unlink(missing_ok=True)

    def _opened(self, path: Path) -> IO[bytes]:
        try:
            return path.open("ab", buffering=0)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from None

    @contextlib.contextmanager
    def _holding(self) -> Iterator[None]:
        self._mine.held = getattr(self._mine, "held", 0) + 1
        try:
            yield
        finally:
            self._mine.held -= 1
