"""Networks from a stitch list: build one with its layer, or rebuild all and check their figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

import klas.digits  # noqa: F401 - registers the built-in networks and images
from klas.data import balanced_order, batches, find_unreadable, open_images
from klas.deploy.weights_file import ListWeights
from klas.errors import DataError, FormatError
from klas.measures.least_squares import fit_stitch_layers
from klas.measures.normalisation import (
    CALIBRATION,
    calibrate_stitches,
    has_statistics,
    in_whole_batches,
)
from klas.networks.anchor import Anchor, Transform
from klas.networks.cost import anchor_cost, count_macs
from klas.networks.device import Precision
from klas.networks.family import Family
from klas.networks.load import load_anchor
from klas.networks.splitting.split import SPLITTER
from klas.networks.stitch import Stitch
from klas.results.documents.sources import Layout
from klas.results.documents.stitches import StitchEntry, StitchList
from klas.results.formats import read
from klas.results.stitch_list import stitch_layer_entry
from klas.selection.space import Place
from klas.study import AnchorSpec
from klas.tasks.classification import Classification


def load_stitch(file: str | Path, index: int, *, allow_code: bool = False) -> Stitch:
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
        >>> network = load_stitch("stitches.json", 0)
        >>> network(torch.zeros(2, 1, 16, 16)).shape  # images as the source takes them
        torch.Size([2, 10])
        >>> load_stitch("stitches.json", 999)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        klas.errors.FormatError: stitches.json: has stitches 0 to ..., but stitch 999 was asked for
    """
    path = Path(file)
    document = read(path, "klas-stitches")
    count = len(document["stitches"])
    if not 0 <= index < count:
        raise FormatError(
            f"{path}: has stitches 0 to {count - 1}, but stitch {index} was asked for"
        )
    stitch = document["stitches"][index]
    names, place = _names(stitch), _place(stitch)
    anchors = {name: _anchor(document, name, path, allow_code) for name in names}
    weights = ListWeights.read(path, document["weights_file"])
    source, target = (anchors[name] for name in names)
    _check_layer(stitch, source, target, path)
    if weights is None:
        family = _fitted(document, place, source, target)
    else:
        family = weights.family(source, target, [place])
    return family.use(place).stitch(place)


def check_stitch_list(path: Path, *, allow_code: bool = False) -> dict[str, Any]:
    """Rebuild every network of a list and compare its MACs, parameters and weights.

    Raises:
        KlasError: the first thing that is not as the list states it.
    """
    document = read(path, "klas-stitches")
    anchors = {
        a["name"]: _anchor(document, a["name"], path, allow_code) for a in document["anchors"]
    }
    costs = {name: anchor_cost(anchor) for name, anchor in anchors.items()}
    for entry in document["anchors"]:
        cost = costs[entry["name"]]
        _same(path, f"anchor {entry['name']}", "macs", entry["macs"], cost.total_macs)
        _same(path, f"anchor {entry['name']}", "params", entry["params"], cost.total_params)
    weights = ListWeights.read(path, document["weights_file"])
    families: dict[tuple[str, str], Family] = {}
    for k, stitch in enumerate(document["stitches"]):
        names, place = _names(stitch), _place(stitch)
        source, target = (anchors[name] for name in names)
        _check_layer(stitch, source, target, path)
        if names not in families:
            places = [_place(s) for s in document["stitches"] if _names(s) == names]
            families[names] = (
                Family.blank(source, target, places)
                if weights is None
                else weights.family(source, target, places)
            )
        network = families[names].use(place).stitch(place)
        # Counted on the network itself, not by the sum of parts that made the list.
        image = torch.empty(1, *source.info.transform.input_size, device="meta")
        macs = count_macs(network, image).macs
        params = sum(p.numel() for p in network.parameters())
        _same(path, f"stitch {k}", "macs", stitch["macs"], macs)
        _same(path, f"stitch {k}", "params", stitch["params"], params)
    return {"file": str(path), "stitches": document["stitches"]}


def _anchor(document: StitchList, name: str, path: Path, allow_code: bool) -> Anchor:
    entry = next(a for a in document["anchors"] if a["name"] == name)
    size = entry.get("image_size")
    spec = AnchorSpec(
        name=name,
        model=entry["model"],
        weights=entry["weights"].get("file"),
        image_size=(size[0], size[1]) if size else None,
        fused=entry.get("fused", False),
    )
    transform = entry["transform"]
    anchor = load_anchor(
        spec,
        crop=transform["crop"],
        interpolation=transform["interpolation"],
        allow_code=allow_code,
    )
    if anchor.info.digest != entry["digest"]:
        raise FormatError(
            f"{path}: {name} has other weights now (digest {anchor.info.digest[:12]}…, the list "
            f"was made with {entry['digest'][:12]}…); use the same checkpoint or select again"
        )
    _same(path, f"anchor {name}", "source", entry["source"], anchor.info.weights.get("source"))
    _same(path, f"anchor {name}", "blocks", entry["blocks"], anchor.info.depth)
    _same(path, f"anchor {name}", "cuts", entry["cuts"], list(anchor.info.cuts))
    _same(path, f"anchor {name}", "splitter", entry["splitter"], SPLITTER)
    columns = entry["columns"]
    if columns is not None and max(columns) >= anchor.info.classes:
        raise FormatError(
            f"{path}: anchor {name}: column {max(columns)} is stated, but its head has "
            f"{anchor.info.classes} outputs"
        )
    anchor.select(None if columns is None else tuple(columns))
    _same(path, f"anchor {name}", "transform", entry["transform"], anchor.info.transform.to_json())
    return anchor


def _fitted(document: StitchList, place: Place, source: Anchor, target: Anchor) -> Family:
    """A stitch of tier ``zero_shot``, made again from the training images."""
    train = document["data"]["train"]
    images = open_images(train["ref"])
    if images.fingerprint != train["fingerprint"]:
        raise DataError(f"{train['ref']}: the images are not those that the list was made with")
    seed, precision = train["seed"], cast(Precision, document["precision"])
    views = [source.info.transform, target.info.transform]

    def rows(count: int) -> NDArray[np.int64]:
        without = [bad.row for bad in find_unreadable(train["ref"], images, count, seed)]
        return balanced_order(images.labels, seed, without=without)[:count]

    def loader(rows: NDArray[np.int64], views: Sequence[Transform], **batch: int) -> Any:
        return batches(images, rows, views, device=torch.device("cpu"), **batch)

    fit = loader(rows(document["fit"]["samples"]), views)
    family = Family(
        source, target, fit_stitch_layers(source, target, fit, [place], precision=precision)
    )
    if has_statistics(target):
        taken, batch = in_whole_batches(rows(CALIBRATION))
        calibrate_stitches(
            family,
            loader(taken, views[:1], batch=batch),
            objective=Classification(),
            precision=precision,
        )
    return family


def _check_layer(stitch: StitchEntry, source: Anchor, target: Anchor, path: Path) -> None:
    """T is what the list says of it."""
    i, j = _place(stitch)
    have, want = source.info.layouts[i].to_json(), target.info.layouts[j].to_json()
    actual = stitch_layer_entry(cast(Layout, have), cast(Layout, want))
    _same(path, f"stitch {i} → {j}", "stitch_layer", stitch["stitch_layer"], actual)


def _same(path: Path, where: str, what: str, stated: Any, actual: Any) -> None:
    if stated != actual:
        raise FormatError(f"{path}: {where}: {what} is stated as {stated}, but is {actual}")


def _names(stitch: StitchEntry) -> tuple[str, str]:
    return stitch["source"], stitch["target"]


def _place(stitch: StitchEntry) -> Place:
    return stitch["source_block"], stitch["target_block"]
