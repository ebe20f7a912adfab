"""What a stitch list names: its anchors, loaded and checked, and the stitches between them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

import klas.digits  # noqa: F401 - registers the built-in networks and images
from klas.data import balanced_order, batches, find_unreadable, open_images
from klas.deploy.architecture import select_columns
from klas.deploy.weights_file import ListWeights
from klas.errors import DataError, FormatError, SelectionError
from klas.foreign import reading
from klas.measures.least_squares import fit_stitch_layers
from klas.measures.normalisation import (
    CALIBRATION,
    calibrate_stitches,
    has_statistics,
    in_whole_batches,
)
from klas.networks.anchor import Anchor, Transform
from klas.networks.decoders.load import load_decoder
from klas.networks.device import Precision
from klas.networks.family import Family
from klas.networks.load import load_anchor
from klas.networks.splitting.split import SPLITTER
from klas.results.documents.sources import Layout, of_image, text_length
from klas.results.documents.stitches import StitchEntry, StitchList
from klas.results.formats import read
from klas.results.stitch_list import stitch_layer_entry
from klas.selection.space import PairNames, Place
from klas.study import AnchorSpec
from klas.tasks.objectives import objective_of


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A stitch list with its networks.

    Attributes:
        path: the list's.
        document: what it says.
        anchors: by name, with the weights that the list states.
        weights: its weights file, if it has one.
    """

    path: Path
    document: StitchList
    anchors: Mapping[str, Anchor]
    weights: ListWeights | None

    @classmethod
    def open(cls, path: Path, stitch: int | None = None, *, allow_code: bool = False) -> Self:
        """Load the anchors of a list, or those of one of its stitches.

        Raises:
            FormatError: the list or its weights file is damaged, or contradicts the anchors.
            AnchorError: an anchor can't be loaded.
        """
        document = read(path, "klas-stitches")
        count = len(document["stitches"])
        if stitch is not None and not 0 <= stitch < count:
            raise FormatError(
                f"{path}: has stitches 0 to {count - 1}, but stitch {stitch} was asked for"
            )
        names = [entry["name"] for entry in document["anchors"]]
        if stitch is not None:
            names = list(dict.fromkeys(names_of(document["stitches"][stitch])))
        return cls(
            path=path,
            document=document,
            anchors={name: listed_anchor(document, name, path, allow_code) for name in names},
            weights=ListWeights.read(path, document["weights_file"]),
        )

    @property
    def tier(self) -> str:
        """How the layers of its stitches are made."""
        return "zero_shot" if self.weights is None else self.weights.tier

    def class_names(self) -> tuple[str, ...] | None:
        """The classes of the images that it was made with; None where these are not at hand."""
        train = self.document["data"]["train"]
        try:
            images = open_images(train["ref"])
        except DataError:
            return None
        return images.class_names if images.fingerprint == train["fingerprint"] else None

    def families(self, stitches: Sequence[StitchEntry]) -> dict[PairNames, Family]:
        """Some of its stitches, pair by pair, with their layers.

        Without a weights file these are fitted again, from the training images.

        Raises:
            FormatError: the weights file lacks one, or they do not fit.
            DataError: the training images are not there or have changed.
        """
        places: dict[PairNames, list[Place]] = {}
        for stitch in stitches:
            self.check_layer(stitch)
            places.setdefault(names_of(stitch), []).append(place_of_entry(stitch))
        families = {}
        for (f, g), own in places.items():
            source, target = self.anchors[f], self.anchors[g]
            if self.weights is None:
                wrong = f"{self.path}: its stitch layers cannot be fitted as it says"
                with reading(FormatError, wrong, "select again"):
                    families[f, g] = _fitted(self.document, own, source, target)
            else:
                families[f, g] = self.weights.family(source, target, own)
        return families

    def shared_anchors(self, families: Mapping[PairNames, Family]) -> dict[str, Anchor]:
        """The anchors that the families have in common.

        Raises:
            SelectionError: they were trained with each pair anew.
        """
        if self.tier != "finetuned":
            return dict(self.anchors)
        if len(families) > 1:
            raise SelectionError(
                f"{self.path}: its anchors were trained jointly once for each of {len(families)} "
                "pairs, so the pairs share no blocks; train them together (klas train), or take "
                "one pair, or the weights of tier tuned"
            )
        (((f, g), family),) = families.items()
        return {f: family.source, g: family.target}

    def check_layer(self, stitch: StitchEntry) -> None:
        """T is what the list says of it.

        Raises:
            FormatError: it is not.
        """
        (f, g), (i, j) = names_of(stitch), place_of_entry(stitch)
        have = self.anchors[f].info.layouts[i].to_json()
        want = self.anchors[g].info.layouts[j].to_json()
        actual = stitch_layer_entry(cast(Layout, have), cast(Layout, want))
        refuse_other(self.path, f"stitch {i} → {j}", "stitch_layer", stitch["stitch_layer"], actual)


def listed_anchor(document: StitchList, name: str, path: Path, allow_code: bool) -> Anchor:
    """An anchor of a list with the weights that the list states.

    Raises:
        FormatError: the list contradicts it.
        AnchorError: it can't be loaded.
    """
    with reading(FormatError, f"{path}: anchor {name} is not as a network can be", "select again"):
        return _listed_anchor(document, name, path, allow_code)


def _listed_anchor(document: StitchList, name: str, path: Path, allow_code: bool) -> Anchor:
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
    if (length := text_length(transform)) is not None:
        anchor = load_decoder(spec, length)
    else:
        image = of_image(transform)
        anchor = load_anchor(
            spec,
            crop=image["crop"],
            interpolation=image["interpolation"],
            allow_code=allow_code,
            task=document["task"],
        )
    if anchor.info.digest != entry["digest"]:
        raise FormatError(
            f"{path}: {name} has other weights now (digest {anchor.info.digest[:12]}…, the list "
            f"was made with {entry['digest'][:12]}…); use the same checkpoint or select again"
        )
    where = f"anchor {name}"
    refuse_other(path, where, "source", entry["source"], anchor.info.weights.get("source"))
    refuse_other(path, where, "blocks", entry["blocks"], anchor.info.depth)
    refuse_other(path, where, "cuts", entry["cuts"], list(anchor.info.cuts))
    refuse_other(path, where, "splitter", entry["splitter"], SPLITTER)
    select_columns(anchor, entry["columns"], str(path))
    refuse_other(path, where, "transform", transform, anchor.info.transform.to_json())
    return anchor


def _fitted(
    document: StitchList, places: Sequence[Place], source: Anchor, target: Anchor
) -> Family:
    """Stitches of tier ``zero_shot``, made again from the training images."""
    train = document["data"]["train"]
    if document["task"] != "classification":
        raise DataError(
            f"{train['ref']}: the layers of networks for {document['task']} are not fitted again "
            "from a list alone; select with --weights"
        )
    images = open_images(train["ref"])
    if images.fingerprint != train["fingerprint"]:
        raise DataError(f"{train['ref']}: the images are not those that the list was made with")
    seed, precision = train["seed"], cast(Precision, document["precision"])
    views = [source.info.images, target.info.images]

    def rows(count: int) -> NDArray[np.int64]:
        without = [bad.row for bad in find_unreadable(train["ref"], images, count, seed)]
        return balanced_order(images.labels, seed, without=without)[:count]

    def loader(rows: NDArray[np.int64], views: Sequence[Transform], **batch: int) -> Iterable[Any]:
        return batches(images, rows, views, device=torch.device("cpu"), **batch)

    fit = loader(rows(document["fit"]["samples"]), views)
    family = Family(
        source, target, fit_stitch_layers(source, target, fit, places, precision=precision)
    )
    if has_statistics(target):
        taken, batch = in_whole_batches(rows(CALIBRATION))
        calibrate_stitches(
            family,
            loader(taken, views[:1], batch=batch),
            objective=objective_of(document["task"]),
            precision=precision,
        )
    return family


def refuse_other(path: Path, where: str, what: str, stated: Any, actual: Any) -> None:
    """What a list states must be what there is.

    Raises:
        FormatError: it is something else.
    """
    if stated != actual:
        raise FormatError(f"{path}: {where}: {what} is stated as {stated}, but is {actual}")


def names_of(stitch: StitchEntry) -> PairNames:
    """Source and target."""
    return stitch["source"], stitch["target"]


def place_of_entry(stitch: StitchEntry) -> Place:
    """(i, j)."""
    return stitch["source_block"], stitch["target_block"]
