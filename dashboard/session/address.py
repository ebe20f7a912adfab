"""What an address says: the view as short query parameters, and back again. Pure functions.

An address holds what differs from the study's own settings, so an empty one is the study as it
is. Its values are a stranger's input: the study's own rules judge them.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, cast
from urllib.parse import quote, unquote

from dashboard.model.list_entries import Entry
from dashboard.session import tradeoff_address
from dashboard.session.state import Choices
from dashboard.text.quantities import SHOWN, THE_SCORE
from klas.errors import StudyError
from klas.results.pair import Pair
from klas.study import SETS, TIERS, Study, change

SETTINGS = ("metric", "tau", "tau_mode", "buckets", "binning")
EVERY_PAIR = "all"
LONGEST_LIST = 4_000  # characters; browsers and servers cut a much longer address


def pair_parameter(pair: Pair) -> str:
    """How an address names a pair, in characters that need no escape."""
    return "~".join(pair.names)


def parse(asked: Mapping[str, str], own: Study) -> tuple[Choices, list[str]]:
    """The choices in an address, and a sentence in Markdown for each that makes no sense.

    Pair and cell are taken as they are: only the study's document knows which there are.

    Args:
        asked: the query parameters; others than ours are ignored.
        own: the study that they are about.
    """
    read: dict[str, Any] = {}
    complaints = []
    for name in SETTINGS:
        if name not in asked:
            continue
        try:
            spec = change(own, "selection", **{name: _value(asked[name])}).selection
        except StudyError as error:
            reason = str(error).rsplit(": ", 1)[-1]  # what comes before quotes the value
            complaints.append(complaint(name, asked[name], f"{reason}; the study's own is shown"))
        else:
            read[name] = getattr(spec, name)
    if (metric := read.get("metric")) in SETS:
        del read["metric"]
        complaints.append(
            complaint("metric", metric, "a set, not a score; it is shown beside every choice")
        )
    for name, known in (("tier", TIERS), ("show", SHOWN)):
        if name in asked:
            if asked[name] in known:
                read[name] = asked[name]
            else:
                complaints.append(complaint(name, asked[name], f"there are {', '.join(known)}"))
    if "pair" in asked:
        read["pair"] = asked["pair"]
    if "cell" in asked:
        if re.fullmatch(r"[0-9]{1,4}-[0-9]{1,4}", asked["cell"]):
            i, j = asked["cell"].split("-")
            read["cell"] = (int(i), int(j))
        else:
            complaints.append(complaint("cell", asked["cell"], "a stitch is given as `3-5`"))
    of_tradeoff, hints = tradeoff_address.parse(asked)
    read |= of_tradeoff
    complaints += [complaint(name, asked[name], hint) for name, hint in hints]
    if "list" in asked:
        try:
            read["list"] = _read_list(asked["list"])
        except ValueError:
            hint = "stitches are given as `a~b:3-5,4-6`"
            complaints.append(complaint("list", asked["list"], hint))
    return cast(Choices, read), complaints


def compose(chosen: Choices, own: Study) -> dict[str, str]:
    """The address of a view: what was chosen, as far as the study doesn't say the same."""
    written = {"pair": chosen["pair"]} if "pair" in chosen else {}
    for name in SETTINGS:
        value = chosen.get(name)
        if value is not None and value != getattr(own.selection, name):
            written[name] = f"{value:.12g}" if isinstance(value, float) else str(value)
    if "tier" in chosen:
        written["tier"] = chosen["tier"]
    if chosen.get("show", THE_SCORE) != THE_SCORE:
        written["show"] = chosen["show"]
    if "cell" in chosen:
        written["cell"] = "{}-{}".format(*chosen["cell"])
    written |= tradeoff_address.compose(chosen)
    if "list" in chosen and fits(chosen["list"]):
        written["list"] = _write_list(chosen["list"])
    return written


def fits(entries: Sequence[Entry]) -> bool:
    """Whether a list is short enough for an address."""
    return len(_write_list(entries)) <= LONGEST_LIST


def _write_list(entries: Sequence[Entry]) -> str:
    """Neighbours of one pair share its name, so that nothing but the order has to be kept."""
    runs = groupby(entries, key=lambda entry: entry[:2])
    return ";".join(
        f"{'~'.join(map(_escaped, pair))}:" + ",".join(f"{i}-{j}" for *_, i, j in run)
        for pair, run in runs
    )


def _escaped(name: str) -> str:
    """An anchor's name without the characters that part a list."""
    return quote(name, safe="").replace("~", "%7E")


def _read_list(text: str) -> tuple[Entry, ...]:
    """Raises ValueError where it is none."""
    entries: dict[Entry, None] = {}
    for run in text.split(";"):
        pair, _, stitches = run.rpartition(":")
        source, target = map(unquote, pair.split("~"))
        for stitch in stitches.split(","):
            if not re.fullmatch(r"[0-9]{1,4}-[0-9]{1,4}", stitch):
                raise ValueError(stitch)
            i, j = stitch.split("-")
            entries[source, target, int(i), int(j)] = None
    return tuple(entries)


def complaint(name: str, value: str, reason: str) -> str:
    """The sentence, in Markdown, about a part of the address that makes no sense here."""
    return f"In the address, {as_code(f'{name}={value}')}: {reason}."


def as_code(text: str) -> str:
    """A stranger's text as code in Markdown, where they make no link, image or formula."""
    return "`" + " ".join(text[:80].split()).replace("`", "'") + "`"


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
