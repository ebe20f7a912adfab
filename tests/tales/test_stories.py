import re

import pytest

from klas.errors import DataError
from klas.tales.stories import SPLITS, open_tales, tale

EVENT = re.compile(r"(\w+) (gives|loses) (\d+) (\w+?)s?(?: to (\w+))?\.")
START = re.compile(r"(\w+) has (\d+) (\w+?)s?\.")


def told_again(prompt):
    """Who has what in the end, from the words of the beginning alone."""
    owned = {}
    for name, count, thing in START.findall(prompt):
        owned[name] = {thing: int(count)}
    for giver, _, count, thing, taker in EVENT.findall(prompt):
        owned[giver][thing] -= int(count)
        if taker:
            owned[taker][thing] = owned[taker].get(thing, 0) + int(count)
    return {name: {t: n for t, n in has.items() if n} for name, has in owned.items()}


def in_the_end(reference):
    """The same, from the end."""
    owned, name = {}, None
    for word, count, thing in re.findall(r"([A-Z]\w+) has|(\d+) (\w+?)s?\b", reference):
        if word:
            name = word
            owned[name] = {}
        else:
            owned[name][thing] = int(count)
    return owned


@pytest.mark.parametrize("split", SPLITS)
def test_the_end_of_a_tale_follows_from_its_beginning(split):
    for number in range(300):
        told = tale(split, number)
        assert in_the_end(told.rest) == told_again(told.prompt), (split, number)


def test_a_tale_is_a_function_of_its_split_and_number():
    assert tale("val", 7) == tale("val", 7) == open_tales("klas/tales:val")[7]
    assert len({tale(split, 7).prompt for split in SPLITS}) == len(SPLITS)
    assert len({tale("train", number).prompt for number in range(500)}) > 495


def test_another_split_is_refused_with_those_that_there_are():
    with pytest.raises(DataError, match="the built-in texts are klas/tales:train, klas/tales:val"):
        open_tales("klas/tales:all")
