"""What a recipe is: how a result is made, how much work that is, and what it costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from klas.measures.sweep import Tick
from klas.pipeline.context import Context

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast this machine is, as measured: seconds for one sample.

    Attributes:
        forward: for a pass of each anchor, by name.
        loading: for decoding and transforming it.
    """

    forward: Mapping[str, float]
    loading: float


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
class Recipe(Generic[R]):
    """How results of one kind are made.

    Attributes:
        units: how much work a result is, in the step's unit; 0 where it is too little to count.
        make: makes its value from what it needs, which is in the store: arrays by name, or JSON
            values; None if it has stored the value itself. It calls ``tick`` with the units done.
        cost: what that takes.
    """

    units: Callable[[R, Context], int]
    make: Callable[[R, Context, Tick], Any]
    cost: Callable[[R, Context, Speed], Cost]


def no_units(result: Any, context: Context) -> int:
    """Too little work to be counted."""
    return 0


def no_cost(result: Any, context: Context, speed: Speed) -> Cost:
    """Next to nothing."""
    return Cost()
