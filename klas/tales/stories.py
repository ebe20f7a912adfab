"""The tales: who has what, who gives what to whom, and in the end what each of them has.

The beginning of a tale is drawn at random, so nobody can tell it ahead. Its end follows from it: a
decoder has to find each name's things again and to count. The ends are the references that
continuations are scored by. Tale k of a split is a pure function of (split, k).
"""

from functools import cache
from random import Random
from typing import Literal, get_args

from klas.data.texts import Text
from klas.errors import DataError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
PREFIX = "klas/tales:"
TALES_VERSION = 1  # raise it when the tales change
SIZES: dict[Split, int] = {"train": 40_000, "val": 4_000, "test": 4_000}

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ida", "Jon", "Kim", "Leo")
THINGS = ("apples", "books", "coins", "drums", "eggs", "forks", "keys", "lamps", "nuts", "pens")
PEOPLE = (2, 3)  # of a tale
MOST = 6  # of one kind that somebody has at first

WORDS = (
    *NAMES,
    *THINGS,
    *(thing.removesuffix("s") for thing in THINGS),
    *(str(number) for number in range(2 * MOST + 1)),
    *("has", "gives", "to", "loses", "and", "nothing", "In", "the", "end", ",", "."),
)
"""All that a tale can be made of."""


def tale(split: Split, number: int) -> Text:
    """One tale.

    Examples:
        >>> told = tale("val", 3)
        >>> print(told.prompt)
        Gus has 3 lamps. Ida has 4 keys. Cleo has 1 nut. Ida loses 2 keys.
        >>> print(told.rest)
         In the end, Gus has 3 lamps and Ida has 2 keys and Cleo has 1 nut.
    """
    draw = Random(f"{TALES_VERSION} {split} {number}")
    people = draw.sample(NAMES, draw.randint(*PEOPLE))
    things = draw.sample(THINGS, len(people))
    owned = {name: {thing: draw.randint(1, MOST)} for name, thing in zip(people, things)}
    told = [f"{name} has {_listed(owned[name])}." for name in people]
    told += [_event(draw, owned) for _ in range(draw.randint(1, 2))]
    ends = [f"{name} has {_listed(has)}" for name, has in owned.items()]
    return Text(prompt=" ".join(told), rest=f" In the end, {' and '.join(ends)}.")


def _event(draw: Random, owned: dict[str, dict[str, int]]) -> str:
    """Something happens to what people have; says what."""
    giver = draw.choice([name for name, has in owned.items() if has])
    thing = draw.choice(list(owned[giver]))
    some = draw.randint(1, owned[giver][thing])
    owned[giver][thing] -= some
    if not owned[giver][thing]:
        del owned[giver][thing]
    if draw.random() < 0.3:
        return f"{giver} loses {_counted(some, thing)}."
    taker = draw.choice([name for name in owned if name != giver])
    owned[taker][thing] = owned[taker].get(thing, 0) + some
    return f"{giver} gives {_counted(some, thing)} to {taker}."


def _listed(has: dict[str, int]) -> str:
    return " and ".join(_counted(count, thing) for thing, count in has.items()) or "nothing"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing.removesuffix('s') if count == 1 else thing}"


@cache
def open_tales(ref: str) -> tuple[Text, ...]:
    """A split by its reference, such as ``klas/tales:val``.

    Raises:
        DataError: there is no such split.
    """
    for split in SPLITS:
        if ref == PREFIX + split:
            return tuple(tale(split, number) for number in range(SIZES[split]))
    names = ", ".join(PREFIX + split for split in SPLITS)
    raise DataError(f"{ref}: there is no such split; the built-in texts are {names}")
