"""Engine ``processes``: workers of this machine, one thread each on a CPU, one for each GPU.

Two threads that wait for each other at every operation stop whenever one of them is not scheduled;
processes don't wait for each other. On an idle machine that gains little: two processes of one
thread tune the built-in networks in 0.9 of the time of one with two threads.

The processes are started anew, not forked: a fork of a process that runs CUDA or OpenMP threads
may hang. They are no ``multiprocessing`` either, whose spawned processes run the user's script
again. They end when the pipe from their owner closes, so none outlives it.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import BinaryIO

from klas.pipeline.context import Context
from klas.pipeline.engines.crew import Event, Failed, Lost, Made, Ticked
from klas.pipeline.engines.crew_engine import CrewEngine
from klas.pipeline.engines.shares import Share
from klas.pipeline.engines.worker import Answer, Order, Setting
from klas.pipeline.speed import Speed, speed_of
from klas.storage.key import Key

GRACE = 2.0  # seconds from a closed pipe to the end of a process
LOOK_EVERY = 1.0  # seconds: a wait without an end can't be interrupted everywhere


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker computes: its device, and how many threads torch has there."""

    device: str
    threads: int


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Processes(CrewEngine["_Crew"]):
    """As many processes as there are places.

    Attributes:
        places: where they compute.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__()
        self.places = tuple(places)

    @property
    def workers(self) -> int:
        """How many processes there are."""
        return len(self.places)

    def begin(self, context: Context) -> "_Crew":
        """Start the processes."""
        return _Crew(context, self.places)

    def speed(self, context: Context) -> Speed:
        """With as many threads as each of them has."""
        return speed_of(context, self.places[0].threads)


class _Crew:
    """The processes at work."""

    def __init__(self, context: Context, places: Sequence[Place]) -> None:
        self._answers: SimpleQueue[tuple[_Process, Answer | None]] = SimpleQueue()
        self._context = context
        self._workers = [_Process(context, place, self._answers) for place in places]

    @property
    def memory_bytes(self) -> int:
        return sum(worker.memory_bytes for worker in self._workers)

    @property
    def idle(self) -> int:
        return sum(worker.share is None for worker in self._workers)

    def give(self, share: Share, key: Key) -> None:
        worker = next(worker for worker in self._workers if worker.share is None)
        worker.begin(share, key)

    def wait(self, seconds: float | None) -> Iterator[Event]:
        ends = None if seconds is None else time.monotonic() + seconds
        while ends is None or time.monotonic() < ends:
            with suppress(Empty):
                yield from self._events(
                    *self._answers.get(timeout=min(LOOK_EVERY, seconds or LOOK_EVERY))
                )
                return

    def dismiss(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _events(self, worker: "_Process", answer: Answer | None) -> Iterator[Event]:
        share = worker.share
        if answer is None:  # its pipe is closed
            if worker not in self._workers:
                return
            why = worker.died()
            self._workers.remove(worker)
            self._workers.append(_Process(self._context, worker.place, self._answers))
            if share is not None:
                yield Lost(share=share, why=why)
            return
        worker.memory_bytes = max(worker.memory_bytes, answer.memory_bytes)
        if answer.error is not None:
            if share is None:
                raise answer.error  # it cannot even begin
            worker.share = None
            yield Failed(share=share, error=answer.error)
            return
        if share is None:
            return
        if answer.units:
            yield Ticked(share=share, units=answer.units)
        if answer.content is not None:
            worker.share = None
            yield Made(share=share, content=answer.content)


class _Process:
    """One worker's process and its pipes."""

    def __init__(
        self,
        context: Context,
        place: Place,
        answers: "SimpleQueue[tuple[_Process, Answer | None]]",
    ) -> None:
        self.place = place
        self.share: Share | None = None
        self.memory_bytes = 0
        # Read when libraries start their threads, so it has to be there before they do.
        threads = {name: str(place.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        found = [path or os.getcwd() for path in sys.path]
        self._process = subprocess.Popen(
            # Not with -m: what it sends must be of this module, not of a module "__main__".
            [sys.executable, "-c", "from klas.pipeline.engines.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | threads | {"PYTHONPATH": os.pathsep.join(found)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders: BinaryIO = self._process.stdin  # type: ignore[assignment]
        reader = threading.Thread(
            target=self._read, args=(self._process.stdout, answers), daemon=True
        )
        reader.start()
        self._send(
            Setting(
                study=context.study,
                root=context.store.root.absolute(),
                device=place.device,
                threads=place.threads,
                allow_code=context.allow_code,
                path=tuple(found),
            )
        )

    def begin(self, share: Share, key: Key) -> None:
        self.share = share
        self._send(Order(share=share, digest=key.digest))

    def died(self) -> str:
        """How it ended by itself."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=GRACE)
        self.end()
        code = self._process.returncode
        if code >= 0:
            return f"the last one exited with status {code}"
        memory = ", as the system does where memory runs out" if -code == signal.SIGKILL else ""
        return f"the last one was ended by signal {-code}{memory}"

    def end(self) -> None:
        """End it if it still runs."""
        self._process.kill()
        with suppress(OSError):
            self._orders.close()
        self._process.wait()

    def _send(self, what: object) -> None:
        with suppress(OSError):  # it is gone: its reader says so
            pickle.dump(what, self._orders)
            self._orders.flush()

    def _read(
        self, source: BinaryIO, answers: "SimpleQueue[tuple[_Process, Answer | None]]"
    ) -> None:
        with source:
            try:
                while True:
                    answers.put((self, pickle.load(source)))
            except Exception:  # it ended, in the middle of a message perhaps
                answers.put((self, None))
