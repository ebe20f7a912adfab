"""Stitch lists beside each other: one's own, and one from a file. Pure functions.

A list is what the ``klas-stitches`` form says of its stitches. Only those between the study's own
anchors are drawn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dashboard.model.list_entries import Entry, picks
from klas.results.documents.sources import AnchorEntry
from klas.results.documents.stitches import StitchEntry, StitchList
from klas.results.pair import CostUnit, Document, cost_unit, number
from klas.selection.curves import Envelope, envelope, gain, saving
from klas.study import Tier


class Listed(NamedTuple):
    """A list with the name and the looks that it has on the page."""

    name: str
    form: StitchList
    colour: str
    symbol: str

    @property
    def stitches(self) -> Sequence[StitchEntry]:
        """Its entries."""
        return self.form["stitches"]


def entries_in(listed: StitchList) -> list[Entry]:
    """The stitches of a list as entries."""
    return _entries(listed["stitches"])


def _entries(stitches: Sequence[StitchEntry]) -> list[Entry]:
    return [(s["source"], s["target"], s["source_block"], s["target_block"]) for s in stitches]


def known_entries(document: Document, listed: StitchList) -> list[Entry]:
    """Those stitches of a list that the study has too, between the very same anchors."""
    both = _entries(_between_own_anchors(document, listed))
    here = {
        (*pair.names, i, j) for pair, mask in picks(document, both) for i, j in pair.places(mask)
    }
    return [entry for entry in both if entry in here]


def of_own_anchors(document: Document, listed: Listed) -> Listed:
    """A list without the stitches of anchors that are not this study's.

    Their figures say nothing beside these anchors.
    """
    return listed._replace(
        form={**listed.form, "stitches": _between_own_anchors(document, listed.form)}
    )


def left_out(document: Document, listed: StitchList) -> list[str]:
    """Which stitches of a list are not taken over, a clause with their number for each reason."""
    own = _between_own_anchors(document, listed)
    strange = len(listed["stitches"]) - len(own)
    absent = len(own) - len(known_entries(document, listed))
    clauses = []
    if strange:
        clauses.append(
            f"{_are(strange)} of anchors that are not this study's: neither drawn nor added"
        )
    if absent:
        what = "no candidates" if absent > 1 else "no candidate"
        clauses.append(f"{_are(absent)} {what} of this study's pairs: not added")
    return clauses


def _are(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"


def _between_own_anchors(document: Document, listed: StitchList) -> list[StitchEntry]:
    """Its stitches whose anchors both are the study's, weights included."""
    own = _digests(document)
    same = {a["name"] for a in listed["anchors"] if own.get(a["name"]) == a["digest"]}
    return [s for s in listed["stitches"] if {s["source"], s["target"]} <= same]


def differences(document: Document, listed: StitchList) -> list[str]:
    """Why a list's figures are not this study's, a clause for each reason; empty if they are."""
    own = _digests(document)
    names = [a["name"] for a in listed["anchors"]]
    strange = [name for name in names if name not in own]
    changed = [
        a["name"] for a in listed["anchors"] if own.get(a["name"], a["digest"]) != a["digest"]
    ]
    clauses = []
    if strange:
        clauses.append(f"anchors that this study lacks ({', '.join(strange)})")
    if changed:
        clauses.append(f"anchors of the same name with other weights ({', '.join(changed)})")
    judged = [
        (d["val"]["fingerprint"], d["val"]["samples"]) for d in (listed["data"], document["data"])
    ]
    seeds = [d["val"]["seed"] for d in (listed["data"], document["data"])]
    if judged[0] != judged[1] or seeds[0] != seeds[1]:
        clauses.append("accuracies on other images, which can't be compared with these")
    if listed["precision"] != document["precision"]:
        clauses.append(f"forward passes in {listed['precision']}")
    return clauses


def _digests(document: Document) -> dict[str, str]:
    return {a["name"]: a["digest"] for a in document["anchors"]}


def curve(listed: Listed, anchors: Sequence[AnchorEntry], tier: Tier) -> Envelope:
    """The best accuracy at every cost among a list's stitches and the anchors."""
    measured = measured_at(listed, tier)
    points = [(s["macs"], number(s["accuracy"][tier])) for s in measured]
    points += [(a["macs"], number(a["accuracy"])) for a in anchors]
    return envelope([macs for macs, _ in points], [accuracy for _, accuracy in points])


def measured_at(listed: Listed, tier: Tier) -> list[StitchEntry]:
    """Those of a list's stitches that have an accuracy at a tier."""
    return [s for s in listed.stitches if s["accuracy"][tier] is not None]


def own_anchors(document: Document, lists: Sequence[Listed]) -> list[AnchorEntry]:
    """The study's measured anchors that the lists stitch, or all where they stitch none."""
    used = {s[role] for listed in lists for s in listed.stitches for role in ("source", "target")}
    known = [a for a in document["anchors"] if a["accuracy"] is not None]
    return [a for a in known if a["name"] in used] or known


def comparison_rows(
    document: Document, lists: Sequence[Listed], tier: Tier
) -> list[dict[str, object]]:
    """A line per list: how many stitches, how many also in the others, their accuracy and cost."""
    unit: CostUnit = cost_unit(document)
    places = [set(entries_in(listed.form)) for listed in lists]
    rows: list[dict[str, object]] = []
    for listed, own in zip(lists, places):
        accuracies = [100 * number(s["accuracy"][tier]) for s in measured_at(listed, tier)]
        macs = [s["macs"] / unit.scale for s in listed.stitches]
        row: dict[str, object] = {
            "list": listed.name,
            "stitches": len(listed.stitches),
            f"least {unit.name}": min(macs, default=None),
            f"most {unit.name}": max(macs, default=None),
            f"mean {tier} (%)": float(np.mean(accuracies)) if accuracies else None,
            f"best {tier} (%)": max(accuracies, default=None),
        }
        if len(lists) > 1:
            row["in both"] = len(set.intersection(*places))
            others = [place for place in places if place is not own]
            row["only here"] = len(own.difference(*others))
        rows.append(row)
    return rows


def gain_and_saving(
    document: Document, ours: Listed, theirs: Listed, tier: Tier
) -> tuple[float | None, float | None]:
    """Mean gain in points at equal cost, and how many times cheaper at equal accuracy."""
    anchors = own_anchors(document, [ours, theirs])
    mine, others = curve(ours, anchors, tier), curve(theirs, anchors, tier)
    costs = [a["macs"] for a in anchors]
    won = gain(mine, others, min(costs), max(costs)) if costs else None
    spared = saving(mine, others)
    return (
        None if won is None else 100 * won.mean,
        None if spared is None else spared.mean,
    )
