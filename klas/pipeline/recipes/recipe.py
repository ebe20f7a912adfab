"""What a recipe is: how a result is made, how much work that is, and what it costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from klas.measures.sweep import Append, Tick
from klas.pipeline.context import Context
from klas.pipeline.speed import Speed
from klas.storage.arrays import Shapes

R = TypeVar("R")

Make = Callable[[Tick], Any]
"""Makes a share of a result: arrays by name, :class:`Rows`, or JSON values. It calls ``tick`` with
the units done."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What making a result takes, about.

    Attributes:
        seconds: of work.
        values: numbers that it leaves on the disk, four bytes each; small ones don't count.
        memory_bytes: at the peak, beyond what the context holds; it does not grow with the samples.
    """

    seconds: float = 0.0
    values: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Arrays that are too large for memory and come in rows.

    Attributes:
        shapes: of the arrays.
        fill: does the work, and hands over their rows as they come.
    """

    shapes: Shapes
    fill: Callable[[Append], None]


@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[R]):
    """How results of one kind are made.

    Attributes:
        units: how much work a result is, in the step's unit; 0 where it is too little to count.
        shares: the parts that can be made apart, each from what the result needs, which is in the
            store; how they are joined, :mod:`klas.pipeline.engines.shares` says. They follow from
            the study alone, never from the machine, or engines would give other bytes.
        cost: what all of it takes.
    """

    units: Callable[[R, Context], int]
    shares: Callable[[R, Context], Sequence[Make]]
    cost: Callable[[R, Context, Speed], Cost]


def undivided(make: Callable[[R, Context, Tick], Any]) -> Callable[[R, Context], Sequence[Make]]:
    """The shares of results that are made as a whole."""
    return lambda result, context: [partial(make, result, context)]


def no_units(result: Any, context: Context) -> int:
    """Too little work to be counted."""
    return 0


def no_cost(result: Any, context: Context, speed: Speed) -> Cost:
    """Next to nothing."""
    return Cost()
