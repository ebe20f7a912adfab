"""What a recipe is: how much work a result is, what it costs, and how it is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from klas.measures.sweep import Tick
from klas.pipeline.context import Context

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast this machine is, measured: seconds for one sample.

    Attributes:
        forward: of a pass of each anchor, by name.
        loading: of decoding and transforming it.
    """

    forward: Mapping[str, float]
    loading: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a result takes to make, about.

    Attributes:
        seconds: of work.
        values: numbers that it leaves on the disk, four bytes each; small ones don't count.
        held_bytes: memory at its peak, beside what the context holds; not more for more samples.
    """

    seconds: float = 0.0
    values: int = 0
    held_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[R]):
    """How results of one kind are made.

    Attributes:
        units: how much of the step's unit a result is; 0 where it is too little to be counted.
        make: from what it needs, which the store has, to its value: arrays by name, or JSON
            values; None if it has stored itself. It calls the tick once for every unit done.
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
