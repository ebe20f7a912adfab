"""Networks from a stitch list: one of them, all in one, or all rebuilt to check their figures."""

from pathlib import Path
from typing import Any

import klas.digits
import klas.tales  # noqa: F401 - both register built-in networks and data
from klas.deploy.architecture import describe
from klas.deploy.elastic import Elastic
from klas.deploy.listed import Listed, names_of, place_of_entry, refuse_other
from klas.deploy.member import Member, stitch_name
from klas.deploy.network import Network
from klas.deploy.writing import form_of, read_config
from klas.errors import FormatError
from klas.foreign import reading
from klas.networks.cost import anchor_cost, count_macs
from klas.networks.family import Family
from klas.results.documents.stitches import StitchEntry
from klas.selection.space import PairNames, Place


def load(folder: str | Path, *, allow_code: bool = False) -> Elastic | Network:
    """A saved network, ready to run, in eval mode on the CPU. No hub, data or cache is asked.

    Args:
        folder: as :meth:`Elastic.save` or :meth:`Network.save` wrote it.
        allow_code: whether to run the Python functions that make its anchors, if any do.

    Raises:
        FormatError: the folder is damaged, from a newer klas, or says what can't be.
        AnchorError: timm has no such model here, or it is code that is not allowed.

    Examples:
        >>> import torch
        >>> elastic = load("trained")
        >>> elastic.use(macs=3_000_000)(torch.zeros(2, 1, 16, 16)).shape
        torch.Size([2, 10])
    """
    path = Path(folder)
    with reading(FormatError, f"{path}: holds no network that can be loaded", "copy it again"):
        if form_of(path) == "klas-network":
            document = read_config(path, "klas-network")
            return Network.from_document(document, path, allow_code=allow_code)
        return Elastic.from_document(read_config(path, "klas-elastic"), path, allow_code=allow_code)


def load_stitch(file: str | Path, index: int, *, allow_code: bool = False) -> Network:
    """One stitched network of a list, ready to run: an ``nn.Module`` in eval mode on the CPU.

    With the list's weights file its layers are those that were measured, and it reaches its
    stated accuracy exactly. Without one the layer is fitted again by least squares from the
    training images that the list names, and normalisation statistics are taken from them again,
    which gives the ``zero_shot`` network.

    Args:
        file: a stitch list, as ``klas select --out`` writes it.
        index: which of its stitches, from 0.
        allow_code: whether to run the Python functions that make its anchors, if any do.

    Raises:
        FormatError: the list or its weights file is damaged, or contradicts the anchors.
        AnchorError: an anchor can't be loaded.
        DataError: the training images are not there or have changed.

    Examples:
        >>> import torch
        >>> network = load_stitch("stitches.json", 0)
        >>> network(torch.zeros(2, 1, 16, 16)).shape  # images as the source takes them
        torch.Size([2, 10])
        >>> network.transform.input_size  # and how to make them: network.prepare(picture)
        (1, 16, 16)
        >>> load_stitch("stitches.json", 999)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        klas.errors.FormatError: stitches.json: has stitches 0 to ..., but stitch 999 was asked for
    """
    return listed_network(Listed.open(Path(file), index, allow_code=allow_code), index)


def listed_network(listed: Listed, index: int) -> Network:
    """One stitch of a list whose anchors are loaded, as a network of its own.

    Raises:
        FormatError: the list or its weights contradict the anchors.
        DataError: its layer has to be fitted, and the training images are not there.
    """
    stitch = listed.document["stitches"][index]
    names, place = names_of(stitch), place_of_entry(stitch)
    family = listed.families([stitch])[names]
    return Network(
        family.use(place).stitch(place),
        member=listed_member(stitch),
        anchors=[describe(listed.anchors[name]) for name in dict.fromkeys(names)],
        class_names=listed.class_names(),
        tier=listed.tier,
        task=listed.document["task"],
    )


def elastic_of_list(file: str | Path, *, allow_code: bool = False) -> Elastic:
    """All stitches of a list and its anchors as one network whose members share their blocks.

    The layers are those of the list's weights file, or fitted again, as for :func:`load_stitch`.

    Raises:
        FormatError: the list or its weights file is damaged, or contradicts the anchors.
        AnchorError: an anchor can't be loaded.
        DataError: the training images are not there or have changed.
        SelectionError: the weights are of tier ``finetuned`` and of several pairs, each of which
            has anchors of its own.

    Examples:
        >>> elastic = elastic_of_list("stitches.json")
        >>> len(elastic.members) > 2  # its two anchors, and the stitches between them
        True
    """
    return elastic_of(Listed.open(Path(file), allow_code=allow_code))


def elastic_of(listed: Listed) -> Elastic:
    """As :func:`elastic_of_list`, of a list that is open."""
    stitches = listed.document["stitches"]
    families = listed.families(stitches)
    anchors = listed.shared_anchors(families)
    accuracy = {
        entry["name"]: dict.fromkeys(("zero_shot", "tuned"), entry["accuracy"])
        for entry in listed.document["anchors"]
        if entry["accuracy"] is not None
    }
    members = [listed_member(stitch) for stitch in stitches]
    elastic = Elastic(
        anchors,
        {
            pair: {place: family.layer(place).state_dict() for place in family.places}
            for pair, family in families.items()
        },
        class_names=listed.class_names(),
        tier=listed.tier,
        task=listed.document["task"],
        accuracy=accuracy | {member.name: member.accuracy for member in members},
    )
    for pair, family in families.items():
        elastic.families[pair].statistics.update(family.statistics)
    return elastic


def check_stitch_list(path: Path, *, allow_code: bool = False) -> dict[str, Any]:
    """Rebuild every network of a list and compare its MACs, parameters and weights.

    Raises:
        KlasError: the first thing that is not as the list states it.
    """
    listed = Listed.open(path, allow_code=allow_code)
    for entry in listed.document["anchors"]:
        cost, where = anchor_cost(listed.anchors[entry["name"]]), f"anchor {entry['name']}"
        refuse_other(path, where, "macs", entry["macs"], cost.total_macs)
        refuse_other(path, where, "params", entry["params"], cost.total_params)
    families: dict[PairNames, Family] = {}
    stitches = listed.document["stitches"]
    places: dict[PairNames, list[Place]] = {}
    for stitch in stitches:
        places.setdefault(names_of(stitch), []).append(place_of_entry(stitch))
    for k, stitch in enumerate(stitches):
        names, place = names_of(stitch), place_of_entry(stitch)
        source, target = (listed.anchors[name] for name in names)
        listed.check_layer(stitch)
        if names not in families:
            families[names] = (
                Family.blank(source, target, places[names])
                if listed.weights is None
                else listed.weights.family(source, target, places[names])
            )
        network = families[names].use(place).stitch(place)
        # Counted on the network itself, not by the sum of parts that made the list.
        taken = source.info.transform
        macs = count_macs(network, taken.example()).macs // taken.positions
        params = sum(p.numel() for p in network.parameters())
        refuse_other(path, f"stitch {k}", "macs", stitch["macs"], macs)
        refuse_other(path, f"stitch {k}", "params", stitch["params"], params)
    return {"file": str(path), "stitches": stitches}


def listed_member(stitch: StitchEntry) -> Member:
    """A stitch of a list as a member, with the costs and accuracies that the list states."""
    (f, g), (i, j) = names_of(stitch), place_of_entry(stitch)
    return Member(
        name=stitch_name(f, i, g, j),
        source=f,
        source_block=i,
        target=g,
        target_block=j,
        macs=stitch["macs"],
        params=stitch["params"],
        accuracy={
            tier: value for tier, value in stitch["accuracy"].items() if isinstance(value, float)
        },
    )
