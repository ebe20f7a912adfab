"""A crew of workers carries results out; whoever sent it keeps the store.

Workers make shares (:mod:`klas.pipeline.engines.shares`) and hand them back; the owner alone locks
results, joins their shares and records them, so a worker may be anywhere and may die at any
moment. Where the workers are, each engine says.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from filelock import FileLock, Timeout

from klas.errors import KlasError, WorkerError
from klas.pipeline.context import Context
from klas.pipeline.engines.engine import Errors, missing
from klas.pipeline.engines.schedule import Work, by_urgency
from klas.pipeline.engines.shares import Content, Share, shares_of, store_shares
from klas.pipeline.recipes.registry import recipe_of
from klas.pipeline.speed import Speed
from klas.results.result import Result
from klas.storage.key import Key

ATTEMPTS = 3  # at a share whose worker died: once more may be bad luck, twice is no accident
LOOK_EVERY = 0.2  # seconds, at results that another process makes


@dataclass(frozen=True, kw_only=True)
class Ticked:
    """So many more units of a share are done."""

    share: Share
    units: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """A share is made; its file, if it has one, is on this disk."""

    share: Share
    content: Content


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A share cannot be made: its error would be the same anywhere."""

    share: Share
    error: BaseException


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The worker that made a share is gone; ``why`` is a clause about how it went."""

    share: Share
    why: str


Event = Ticked | Made | Failed | Lost


class Crew(Protocol):
    """Workers, wherever they are."""

    @property
    def idle(self) -> int:
        """How many more shares they would begin at once."""
        ...

    @property
    def memory_bytes(self) -> int:
        """The most memory that they took together, as far as they told."""
        ...

    def give(self, share: Share, key: Key) -> None:
        """Let a worker make a share of the result with this key. What it needs is stored."""
        ...

    def wait(self, seconds: float | None) -> Iterable[Event]:
        """What happened since; waits until something did, or so long."""
        ...

    def dismiss(self) -> None:
        """End all workers at once, whatever they do."""
        ...


def work_of(
    results: Iterable[Result], context: Context, speed: Speed
) -> dict[Result, Work[Result]]:
    """What results ask for, as estimated."""
    return {
        result: Work(
            needs=result.needs,
            shares=len(shares_of(result, context)),
            seconds=recipe_of(result).cost(result, context, speed).seconds,
        )
        for result in results
    }


def carry_out(
    results: Sequence[Result],
    context: Context,
    crew: Crew,
    speed: Speed,
    *,
    labels: Mapping[Result, str] | None = None,
    tolerated: Errors = (),
) -> dict[Result, KlasError]:
    """Let a crew make results; as :meth:`klas.pipeline.engines.engine.Engine.carry_out`.

    Whatever ends it early ends the workers too: what they were making is lost.
    """
    owner = _Owner(list(missing(results, context)), context, speed, labels or {}, tolerated)
    try:
        while owner.unfinished:
            while crew.idle and (share := owner.next_share()):
                crew.give(share, owner.keys[share.result])
            for event in crew.wait(None if owner.in_flight else LOOK_EVERY):
                owner.take(event)
    except BaseException:
        crew.dismiss()
        raise
    finally:
        owner.let_go()
    return owner.ended


class _Owner:
    """Who holds the results' locks, knows which shares are made, and joins them."""

    def __init__(
        self,
        wanted: Sequence[Result],
        context: Context,
        speed: Speed,
        labels: Mapping[Result, str],
        tolerated: Errors,
    ) -> None:
        self.unfinished = dict.fromkeys(wanted)
        self.keys = {result: context.keys.of(result) for result in wanted}
        self.in_flight: set[Share] = set()
        self.ended: dict[Result, KlasError] = {}
        self._context = context
        self._labels = labels
        self._tolerated = tolerated
        self._order = by_urgency(work_of(wanted, context, speed))
        self._locks: dict[Result, FileLock] = {}
        self._waiting: dict[Result, list[Share]] = {}
        self._made: dict[Result, dict[int, Content]] = {}
        self._attempts: dict[Share, int] = {}
        # What progress was told of a share, and what its last attempt has done: a second one
        # does not report again what the first did.
        self._told: dict[Share, int] = {}
        self._done: dict[Share, int] = {}

    def next_share(self) -> Share | None:
        """The most urgent share that can be begun; None if there is none now."""
        for result in self._order:
            if result in self.unfinished and self._begun(result) and self._waiting[result]:
                share = self._waiting[result].pop(0)
                self.in_flight.add(share)
                self._done[share] = 0
                label = self._labels.get(result, self.keys[result].label)
                part = f" ({share.number + 1} of {share.of})" if share.of > 1 else ""
                self._context.progress.label(label + part)
                return share
        return None

    def take(self, event: Event) -> None:
        """Take note of what happened.

        Raises:
            KlasError: a share cannot be made.
        """
        share = event.share
        if share not in self.in_flight:  # of a result that has ended
            return
        match event:
            case Ticked(units=units):
                self._done[share] += units
                if (more := self._done[share] - self._told.get(share, 0)) > 0:
                    self._told[share] = self._done[share]
                    self._context.progress.advance(more)
            case Made(content=content):
                self.in_flight.discard(share)
                self._made[share.result][share.number] = content
                if len(self._made[share.result]) == share.of:
                    self._store(share.result)
            case Failed(error=error):
                if not isinstance(error, self._tolerated):
                    raise error
                self._end(share.result, error)
            case Lost(why=why):
                self.in_flight.discard(share)
                self._attempts[share] = self._attempts.get(share, 0) + 1
                if self._attempts[share] == ATTEMPTS:
                    label = self.keys[share.result].label
                    raise WorkerError(f"{label}: {ATTEMPTS} workers in turn died of it; {why}")
                self._waiting[share.result].insert(0, share)

    def let_go(self) -> None:
        """Release the locks, and delete the files of shares that are of no use now."""
        for made in self._made.values():
            for content in made.values():
                if content.file is not None:
                    with suppress(OSError):
                        content.file.unlink(missing_ok=True)
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()

    def _begun(self, result: Result) -> bool:
        """Begin a result if that is possible now; whether it is begun and still to be made."""
        if result in self._locks:
            return True
        if any(need in self.unfinished for need in result.needs):
            return False
        context, key = self._context, self.keys[result]
        lock = context.store.lock(key.digest)
        try:
            lock.acquire(timeout=0)
        except Timeout:  # another process makes it
            if context.has(result):
                self._finish(result)
            return False
        self._locks[result] = lock
        if context.has(result):  # it was made meanwhile
            self._finish(result)
            return False
        context.used.add(key.digest)  # noted before it is made, so that it never is nobody's
        context.record()
        self._waiting[result] = shares_of(result, context)
        self._made[result] = {}
        return True

    def _store(self, result: Result) -> None:
        made = self._made.pop(result)
        store_shares(self._context.store, self.keys[result], [made[k] for k in sorted(made)])
        self._finish(result)

    def _finish(self, result: Result) -> None:
        self.unfinished.pop(result, None)
        if lock := self._locks.pop(result, None):
            lock.release()

    def _end(self, result: Result, error: KlasError) -> None:
        """Leave out a result, and those that need it."""
        self.in_flight = {share for share in self.in_flight if share.result != result}
        self.ended[result] = error
        self._finish(result)
        for other in [r for r in self.unfinished if result in r.needs]:
            self._end(other, error)
