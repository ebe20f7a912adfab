"""The workers of engine ``ray``, as their owner sees them.

A worker is an actor, because networks and data that are open are worth keeping. What a share
needs goes to its worker through Ray's object store, and what it makes comes back the same way, so
hosts share no disk. An actor that dies is replaced, and its share is made again wherever there is
room first.

Several studies share a cluster by keeping to their part of it: each crew sees by name how many
workers the others have or wait for, and leaves what is more than its part when a share is done.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from klas.errors import WorkerError, one_line
from klas.pipeline.context import Context
from klas.pipeline.engines.crew import Event, Failed, Lost, Made, Ticked
from klas.pipeline.engines.ray_connection import NAMESPACE, connected
from klas.pipeline.engines.ray_needs import Needs
from klas.pipeline.engines.ray_room import (
    Node,
    actor_name,
    nodes,
    own_part,
    places,
    resources,
    uses_gpus,
    workers_by_crew,
)
from klas.pipeline.engines.ray_worker import (
    Begun,
    PieceWriter,
    RayWorker,
    check_versions,
    folder_name,
    versions,
)
from klas.pipeline.engines.shares import Share
from klas.pipeline.engines.worker import Answer, Order, Setting
from klas.pipeline.engines.worker_folder import remove_abandoned_folders
from klas.storage.key import Key

LOOK_EVERY = 2.0  # seconds between two looks at the cluster's nodes and other crews
TURN = 60.0  # seconds that a worker keeps its place where there are more crews than places
ATTEMPTS = 3  # at beginning a worker
PENDING_SECONDS = 10.0  # until it is said that there is no room
BACKPRESSURE = 4  # items of a worker's that wait to be taken
SWEEP_SECONDS = 5.0  # for the hosts to delete what a crew's workers had


@dataclass(kw_only=True, eq=False)
class _Worker:
    """A worker as its owner sees it.

    Attributes:
        waits_for: what Ray has to tell of next: that it has begun, or the items of a share.
        begun: what it said first.
        has: digests of the results that it was given.
        leaving: whether it ends when its share is done.
        since: when it began.
    """

    actor: Any
    waits_for: Any
    begun: Begun | None = None
    share: Share | None = None
    writer: PieceWriter | None = None
    has: set[str] = field(default_factory=set)
    leaving: bool = False
    since: float = 0.0
    memory_bytes: int = 0

    @property
    def idle(self) -> bool:
        return self.begun is not None and self.share is None and not self.leaving


class RayCrew:
    """The workers on a cluster that one engine has.

    Raises:
        WorkerError: there is no such cluster, or it is of another version.
    """

    def __init__(
        self, context: Context, *, address: str | None, at_most: int | None, memory_each: int
    ) -> None:
        """Connect to a cluster and ask for workers there; as :class:`RayCluster` takes it."""
        self._context = context
        self._at_most = at_most
        self._memory_each = memory_each
        self._name = uuid4().hex[:8]
        self._workers: list[_Worker] = []
        self._begun = self._died = 0
        self._nodes: set[str] = set()  # on which there were workers
        self._needs = Needs(context)
        self._started = self._looked = time.monotonic()
        self._connection = ExitStack()
        self._connection.enter_context(connected(address))
        try:
            self._gpus = uses_gpus(nodes(), context.wish)
            self._opened = [self._needs.of(entry) for entry in self._needs.opened()]
            self._look()
        except BaseException:
            self.dismiss()
            raise

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._workers)

    @property
    def memory_bytes(self) -> int:
        """What the workers took at their peaks, as far as they told."""
        return sum(worker.memory_bytes for worker in self._workers)

    @property
    def idle(self) -> int:
        """How many workers wait for a share."""
        return sum(worker.idle for worker in self._workers)

    def give(self, share: Share, key: Key) -> None:
        """Let a worker make a share; one that has most of what it needs."""
        entries = [self._needs.entry(need) for need in share.result.needs]
        worker = max(
            (worker for worker in self._workers if worker.idle),
            key=lambda worker: sum(entry.digest in worker.has for entry in entries),
        )
        needs = [self._needs.of(entry) for entry in entries if entry.digest not in worker.has]
        tmp = self._context.store.root / "tmp"
        worker.share = share
        worker.writer = PieceWriter(tmp / f"{key.digest}.{share.number}.rows")
        worker.has.update(entry.digest for entry in entries)
        worker.waits_for = worker.actor.make.options(
            num_returns="streaming", _generator_backpressure_num_objects=BACKPRESSURE
        ).remote(Order(share=share, digest=key.digest), needs)

    def wait(self, seconds: float | None) -> Iterator[Event]:
        """What workers tell; ends also when one more of them can take a share."""
        import ray

        ends = None if seconds is None else time.monotonic() + seconds
        while True:
            if time.monotonic() - self._looked > LOOK_EVERY:
                self._look()
            left = LOOK_EVERY if ends is None else min(LOOK_EVERY, ends - time.monotonic())
            telling = [w for w in self._workers if w.waits_for is not None]
            if telling:
                refs = [worker.waits_for for worker in telling]
                ready, _ = ray.wait(refs, num_returns=1, timeout=max(0.0, left))
                for ref in ready:
                    worker = next(worker for worker in telling if worker.waits_for == ref)
                    yield from self._hear(worker)
                if ready:
                    return
            else:
                time.sleep(max(0.0, left))
            if ends is not None and time.monotonic() >= ends:
                return

    def dismiss(self) -> None:
        """End all workers, delete what they had on their hosts, and leave the cluster."""
        for worker in [*self._workers]:
            self._end(worker)
        with suppress(Exception):  # of a cluster that is gone
            self._sweep()
        self._needs.clear()
        self._opened.clear()
        self._connection.close()

    # -- workers ---------------------------------------------------------------------------

    def _look(self) -> None:
        """Have as many workers as are this crew's part of the cluster as it is now."""
        import ray

        self._looked = now = time.monotonic()
        every = nodes()
        room = places(every, self._memory_each, gpus=self._gpus)
        names = ray.util.list_named_actors(all_namespaces=True)
        crews = workers_by_crew([each["name"] for each in names])
        crews.pop(self._name, None)
        part = own_part(room, crews.values(), self._at_most)
        staying = [worker for worker in self._workers if not worker.leaving]
        # Those that have not begun go first, then those that have nothing to do.
        staying.sort(key=lambda w: (w.begun is not None, w.share is not None, w.since))
        surplus = staying[: max(0, len(staying) - part)]
        if not surplus and len(crews) >= room:
            old = (w for w in staying if w.begun is not None and now - w.since > TURN)
            surplus = [*old][:1]
        for worker in surplus:
            worker.leaving = True
            if worker.share is None:
                self._end(worker)
        for _ in range(part - len(staying)):
            self._begin(every)
        if now - self._started > PENDING_SECONDS and not any(w.begun for w in self._workers):
            what = "GPU" if self._gpus else "CPU"
            self._context.progress.label(f"waits for a free {what} of the Ray cluster")

    def _begin(self, every: Sequence[Node]) -> None:
        import ray

        context = self._context
        needs = resources(every, self._memory_each, gpus=self._gpus)
        setting = Setting(
            # Precision is part of every key, and a GPU would choose another one than this CPU.
            study=context.study.model_copy(update={"precision": context.precision}),
            root=Path(),
            device="cuda" if self._gpus else "cpu",
            threads=max(1, int(needs["num_cpus"])),
            allow_code=context.allow_code,
        )
        self._begun += 1
        actor = (
            ray.remote(RayWorker)
            .options(
                name=actor_name(self._name, self._begun),
                namespace=NAMESPACE,
                max_restarts=0,
                max_task_retries=0,
                **needs,
            )
            .remote(setting, self._name)
        )
        self._workers.append(_Worker(actor=actor, waits_for=actor.begin.remote(self._opened)))

    def _end(self, worker: _Worker) -> None:
        import ray

        self._workers.remove(worker)
        with suppress(Exception):  # it may be gone, and the cluster too
            ray.kill(worker.actor)
        if worker.writer is not None:
            worker.writer.file.unlink(missing_ok=True)

    def _sweep(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remove = ray.remote(num_cpus=0, max_retries=0)(remove_abandoned_folders)
        asked = [
            remove.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(folder_name(self._name, node), SWEEP_SECONDS / 2)
            for node in self._nodes & {node.name for node in nodes()}
        ]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=SWEEP_SECONDS)

    # -- what they say ---------------------------------------------------------------------

    def _hear(self, worker: _Worker) -> Iterator[Event]:
        import ray

        share = worker.share
        try:
            if share is None:
                self._heard_first(worker, ray.get(worker.waits_for))
                return
            said = ray.get(next(worker.waits_for))
        except (ray.exceptions.RayError, StopIteration) as error:
            self._end(worker)
            self._looked = 0.0  # so that another one begins at once
            if share is not None:
                yield Lost(share=share, why=f"the last one{_on(worker)} is gone: {_why(error)}")
                return
            self._died += 1
            if self._died == ATTEMPTS or "No module named" in str(error):
                raise WorkerError(f"Ray: a worker cannot begin: {_why(error)}") from None
            return
        if not isinstance(said, Answer):
            assert worker.writer is not None
            worker.writer.add(said)
            return
        yield from self._events(worker, share, said)

    def _heard_first(self, worker: _Worker, begun: Begun) -> None:
        if begun.error is not None:
            raise begun.error
        check_versions(begun.host, begun.versions, versions())
        worker.begun, worker.waits_for, worker.since = begun, None, time.monotonic()
        self._nodes.add(begun.node)
        self._died = 0

    def _events(self, worker: _Worker, share: Share, said: Answer) -> Iterator[Event]:
        worker.memory_bytes = max(worker.memory_bytes, said.memory_bytes)
        if said.units:
            yield Ticked(share=share, units=said.units)
        if said.error is None and said.content is None:
            return
        writer = worker.writer
        assert writer is not None
        worker.share = worker.writer = worker.waits_for = None
        if worker.leaving:
            self._end(worker)
        if said.error is not None:
            yield Failed(share=share, error=said.error)
        elif said.content is None or said.content.kind == "json":
            assert said.content is not None
            yield Made(share=share, content=said.content)
        elif writer.is_whole(said.content.sha256):
            yield Made(share=share, content=replace(said.content, file=writer.file))
        else:
            writer.file.unlink(missing_ok=True)
            yield Lost(share=share, why=f"what the last one{_on(worker)} sent was damaged")


def _on(worker: _Worker) -> str:
    begun = worker.begun
    return "" if begun is None else f" (process {begun.process} on host {begun.host})"


def _why(error: BaseException) -> str:
    """Ray's account of an actor's end, in a clause."""
    text = str(error)
    if missing := re.search(r"No module named '([\w.]+)'", text):
        where = re.search(r"\bip[:=]\s*([\d.]+)", text)
        host = f"host {where[1]}" if where else "a host"
        return (
            f"Python on {host} finds no module {missing[1]!r}; install the same klas and what it "
            "needs on every host of the cluster"
        )
    if exit_type := re.search(r"Worker exit type: (\w+)", text):
        return f"its process ended ({exit_type[1]})"
    return one_line(error) if isinstance(error, Exception) else str(error)
