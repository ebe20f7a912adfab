"""Which member of a stitch list or of a saved folder is exported: by name, number or budget."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from klas.deploy.architecture import describe
from klas.deploy.elastic import Elastic
from klas.deploy.listed import Listed, listed_anchor, names_of, place_of_entry
from klas.deploy.load import listed_member, load, load_stitch
from klas.deploy.member import CostName, Member, within
from klas.deploy.network import Network
from klas.errors import SelectionError, listing
from klas.networks.stitch import State, StitchLayer
from klas.results.documents.stitches import StitchList
from klas.results.formats import read
from klas.selection.space import PairNames, Place
from klas.study import TIERS


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One member: exactly one of these says which.

    Attributes:
        member: its name.
        index: its number, from 0: that of the list's stitch, or of the folder's member.
        budget: the most that it may cost, of what; the most accurate within it is taken.
        tier: whose accuracies count for a budget. By default those of the weights that are
            exported; where a member lacks that, those of the best tier that all have.
    """

    member: str | None = None
    index: int | None = None
    budget: tuple[CostName, float] | None = None
    tier: str | None = None


def chosen_network(path: Path, wanted: Wanted, *, allow_code: bool = False) -> Network:
    """The member that is wanted as a network of its own, in eval mode on the CPU.

    Args:
        path: a stitch list, or the folder of an elastic or of a single network. An anchor that is
            taken from a list is the pretrained one.
        allow_code: whether to run the Python functions that make its anchors, if any do.

    Raises:
        SelectionError: there is no such member, none within the budget, or nothing says which.
        FormatError: the list or the folder is damaged, or contradicts the anchors.
        AnchorError: an anchor can't be loaded.
        DataError: the training images are not there or have changed.
    """
    if path.is_dir():
        saved = load(path, allow_code=allow_code)
        if isinstance(saved, Network):
            return _only(saved, wanted, path)
        if wanted.budget is not None and wanted.budget[0] == "ms":
            saved.measure_latency()  # here: the table's may be of another machine
        return saved.extract(pick(saved.members, wanted, saved.tier, path).name)
    document = read(path, "klas-stitches")
    stitches = [listed_member(entry) for entry in document["stitches"]]
    if wanted.index is not None:
        return load_stitch(path, wanted.index, allow_code=allow_code)
    members = [*stitches, *anchor_members(document)]
    if wanted.budget is not None and wanted.budget[0] == "ms":
        members = _timed(path, members, allow_code)
    weights = document["weights_file"]
    tier = "zero_shot" if weights is None else weights["tier"]
    taken = pick(members, wanted, tier, path)
    names = [member.name for member in stitches]
    if taken.name in names:
        return load_stitch(path, names.index(taken.name), allow_code=allow_code)
    return anchor_network(path, document, taken, allow_code)


def pick(members: Sequence[Member], wanted: Wanted, weights_tier: str, where: Path) -> Member:
    """The member that is wanted.

    Args:
        weights_tier: how the weights that are exported were made.
        where: what the members are of, for an error's sentence.

    Raises:
        SelectionError: there is no such member, none within the budget, or nothing says which.
    """
    if wanted.budget is not None:
        tier = wanted.tier or _tier_of_all(members, weights_tier)
        if wanted.tier and not any(wanted.tier in member.accuracy for member in members):
            raise SelectionError(f"{where}: no member has an accuracy of tier {wanted.tier}")
        return within(members, *wanted.budget, tier)
    if wanted.index is not None:
        if not 0 <= wanted.index < len(members):
            raise SelectionError(
                f"{where}: has members 0 to {len(members) - 1}, but member {wanted.index} was "
                "asked for"
            )
        return members[wanted.index]
    if wanted.member is None:
        raise SelectionError(
            f"{where}: has {len(members)} members; say which by --member NAME, --index N, or a "
            "budget (--macs, --params, --ms)"
        )
    named = next((member for member in members if member.name == wanted.member), None)
    if named is None:
        known = listing(member.name for member in members)
        raise SelectionError(f"{where}: has no member {wanted.member!r}; there are {known}")
    return named


def _tier_of_all(members: Sequence[Member], weights_tier: str) -> str:
    """The tier of the weights if all members have accuracies of it, else the best that all have."""
    ranked = [weights_tier, *reversed(TIERS)]
    return next((t for t in ranked if all(t in m.accuracy for m in members)), weights_tier)


def _only(network: Network, wanted: Wanted, path: Path) -> Network:
    if wanted.index is None and wanted.budget is None and wanted.member in (None, network.name):
        return network
    raise SelectionError(
        f"{path}: holds one network, {network.name}; leave --member, --index and budgets out"
    )


def anchor_members(document: StitchList) -> list[Member]:
    """The pretrained anchors of a list that have a head, whose accuracy no tier changes."""
    return [
        Member(
            name=entry["name"],
            source=entry["name"],
            macs=entry["macs"],
            params=entry["params"],
            accuracy=dict.fromkeys(TIERS, entry["accuracy"]),
        )
        for entry in document["anchors"]
        if entry["accuracy"] is not None
    ]


def anchor_network(path: Path, document: StitchList, member: Member, allow_code: bool) -> Network:
    """A pretrained anchor of a list.

    Raises:
        FormatError: the list contradicts it.
        AnchorError: it can't be loaded.
    """
    anchor = listed_anchor(document, member.name, path, allow_code)
    listed = Listed(path=path, document=document, anchors={member.name: anchor}, weights=None)
    return Network(
        anchor,
        member=member,
        anchors=[describe(anchor)],
        class_names=listed.class_names(),
        tier=None,
        task=document["task"],
    )


def _timed(path: Path, members: Sequence[Member], allow_code: bool) -> list[Member]:
    """The members of a list with the time that each takes here."""
    listed = Listed.open(path, allow_code=allow_code)
    states: dict[PairNames, dict[Place, State]] = {}
    for entry in listed.document["stitches"]:
        (f, g), (i, j) = names_of(entry), place_of_entry(entry)
        have, want = listed.anchors[f].info.layouts[i], listed.anchors[g].info.layouts[j]
        # A layer's values don't change its time.
        states.setdefault((f, g), {})[i, j] = StitchLayer(have, want).state_dict()
    elastic = Elastic(listed.anchors, states)
    elastic.measure_latency()
    latency = {member.name: member.latency for member in elastic.members}
    return [replace(member, latency=latency[member.name]) for member in members]
