"""What an address says: the view as short query parameters, and back again. Pure functions.

An address holds what differs from the study's own settings, so an empty one is the study as it
is. Its values are a stranger's input: the study's own rules judge them.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import quote, unquote

from dashboard.model.list_entries import Entry
from dashboard.session import tradeoff_address as tradeoff_link
from dashboard.text.quantities import SHOWN, THE_SCORE
from klas.errors import StudyError
from klas.results.pair import Pair
from klas.study import TIERS, Study, change

SETTINGS = ("metric", "tau", "tau_mode", "buckets", "binning")
EVERY_PAIR = "all"
LONGEST_LIST = 4_000  # characters; browsers and servers cut a much longer address


def pair_word(pair: Pair) -> str:
    """How an address names a pair: of its characters none needs an escape."""
    return "~".join(pair.names)


def parse(asked: Mapping[str, str], own: Study) -> tuple[dict[str, Any], list[str]]:
    """The choices in an address, and a sentence for each that makes no sense.

    Pair and cell are taken as they are: only the study's document knows which there are.

    Args:
        asked: the query parameters; others than ours are ignored.
        own: the study that they are about.
    """
    found: dict[str, Any] = {}
    wrong = []
    for name in SETTINGS:
        if name not in asked:
            continue
        try:
            spec = change(own, "selection", **{name: _value(asked[name])}).selection
        except StudyError as error:
            reason = str(error).rsplit(": ", 1)[-1]  # what comes before quotes the value
            wrong.append(unknown(name, asked[name], f"{reason}; the study's own is shown"))
        else:
            found[name] = getattr(spec, name)
    if found.get("metric") == "snnet":
        del found["metric"]
        wrong.append(
            unknown("metric", "snnet", "a set, not a score; it stands beside every choice")
        )
    if "tier" in asked:
        if asked["tier"] in TIERS:
            found["tier"] = asked["tier"]
        else:
            wrong.append(unknown("tier", asked["tier"], f"there are {', '.join(TIERS)}"))
    if "show" in asked:
        if asked["show"] in SHOWN:
            found["show"] = asked["show"]
        else:
            wrong.append(unknown("show", asked["show"], f"there are {', '.join(SHOWN)}"))
    if "pair" in asked:
        found["pair"] = asked["pair"]
    if "cell" in asked:
        if re.fullmatch(r"[0-9]{1,4}-[0-9]{1,4}", asked["cell"]):
            i, j = asked["cell"].split("-")
            found["cell"] = (int(i), int(j))
        else:
            wrong.append(unknown("cell", asked["cell"], "a stitch is given as `3-5`"))
    of_tradeoff, odd = tradeoff_link.parse(asked)
    found |= of_tradeoff
    wrong += [unknown(name, asked[name], hint) for name, hint in odd]
    if "list" in asked:
        try:
            found["list"] = _read_list(asked["list"])
        except ValueError:
            wrong.append(unknown("list", asked["list"], "stitches are given as `a~b:3-5,4-6`"))
    return found, wrong


def compose(kept: Mapping[str, Any], own: Study) -> dict[str, str]:
    """The address of a view: what was chosen, as far as the study doesn't say the same."""
    said = {"pair": kept["pair"]} if "pair" in kept else {}
    for name in SETTINGS:
        if name in kept and kept[name] != getattr(own.selection, name):
            value = kept[name]
            said[name] = f"{value:.12g}" if isinstance(value, float) else str(value)
    if "tier" in kept:
        said["tier"] = kept["tier"]
    if kept.get("show", THE_SCORE) != THE_SCORE:
        said["show"] = kept["show"]
    if "cell" in kept:
        said["cell"] = "{}-{}".format(*kept["cell"])
    said |= tradeoff_link.compose(kept)
    if "list" in kept:
        listed = _write_list(kept["list"])
        if len(listed) <= LONGEST_LIST:
            said["list"] = listed
    return said


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
    found: dict[Entry, None] = {}
    for run in text.split(";"):
        pair, _, stitches = run.rpartition(":")
        source, target = map(unquote, pair.split("~"))
        for stitch in stitches.split(","):
            if not re.fullmatch(r"[0-9]{1,4}-[0-9]{1,4}", stitch):
                raise ValueError(stitch)
            i, j = stitch.split("-")
            found[source, target, int(i), int(j)] = None
    return tuple(found)


def unknown(name: str, value: str, reason: str) -> str:
    """The sentence, in Markdown, about a part of the address that makes no sense here."""
    return f"In the address, {code(f'{name}={value}')}: {reason}."


def code(text: str) -> str:
    """A stranger's words as code in Markdown, where they make no link, image or formula."""
    return "`" + " ".join(text[:80].split()).replace("`", "'") + "`"


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
