"""In which order shares are made, and how long that takes: pure functions of a graph of results."""

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Work(Generic[R]):
    """What a result asks for.

    Attributes:
        needs: what must be there first.
        shares: how many parts can be made side by side.
        seconds: for all of them, about.
    """

    needs: Sequence[R]
    shares: int
    seconds: float


def by_urgency(work: Mapping[R, Work[R]]) -> list[R]:
    """The results in the order in which workers should take them.

    First is what the longest chain of work hangs on: the result itself, one share long, and what
    needs it, and so on (Graham's list scheduling along the critical path).

    Args:
        work: in an order in which each result comes after what it needs.

    Examples:
        >>> work = {
        ...     "short": Work(needs=(), shares=1, seconds=1),
        ...     "long": Work(needs=(), shares=1, seconds=5),
        ...     "first": Work(needs=(), shares=1, seconds=2),
        ...     "last": Work(needs=("first",), shares=1, seconds=4),
        ... }
        >>> by_urgency(work)
        ['first', 'long', 'last', 'short']
    """
    behind = dict.fromkeys(work, 0.0)
    chain = {}
    for result in reversed([*work]):
        one = work[result]
        chain[result] = one.seconds / one.shares + behind[result]
        for need in one.needs:
            if need in behind:
                behind[need] = max(behind[need], chain[result])
    return sorted(work, key=lambda result: -chain[result])  # stable: equals keep their order


def makespan(work: Mapping[R, Work[R]], workers: int) -> float:
    """Seconds until all is made, if as many workers take shares by urgency.

    Examples:
        >>> halves = {"a": Work(needs=(), shares=2, seconds=4)}
        >>> makespan(halves, 1), makespan(halves, 2), makespan(halves, 3)
        (4.0, 2.0, 2.0)
    """
    order = by_urgency(work)
    left = {result: work[result].shares for result in order}
    unfinished = dict(left)
    running: list[tuple[float, int, R]] = []
    now, number = 0.0, 0
    while unfinished:
        for result in order:
            ready = result in unfinished and not any(n in unfinished for n in work[result].needs)
            while ready and left[result] and len(running) < workers:
                left[result] -= 1
                number += 1
                ends = now + work[result].seconds / work[result].shares
                heapq.heappush(running, (ends, number, result))
            if len(running) == workers:
                break
        now, _, result = heapq.heappop(running)
        unfinished[result] -= 1
        if not unfinished[result]:
            del unfinished[result]
    return now
