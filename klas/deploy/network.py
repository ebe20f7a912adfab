"""A member as a network of its own: it needs no anchors, no hub, no data and no cache."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Self, cast

import torch
from PIL.Image import Image
from torch import Tensor, nn

from klas.data.loading import prepared
from klas.deploy.architecture import rebuild_all, saved, transform_of
from klas.deploy.member import Member
from klas.deploy.tensors import distinct, fill, read_tensors
from klas.deploy.writing import write_folder
from klas.errors import FormatError, SelectionError
from klas.networks.anchor import Anchor, Transform
from klas.networks.decoders.generation import Continuation, shell_of
from klas.networks.stitch import Stitch, StitchLayer
from klas.results.documents.networks import Architecture, NetworkDocument
from klas.selection.space import Place
from klas.study import TaskName


class Network(nn.Module):
    """One stitched network, or one anchor, with all that a user of it has to know.

    Its parts are its own. A stitch is ``stem``, ``front`` (the source's blocks), ``layer``,
    ``back`` (the target's blocks) and ``head``; an anchor has all of its blocks in ``front``.

    Attributes:
        member: its name, blocks, costs and accuracies.
        anchors: the architectures of the anchors whose parts it has: the source's, the target's.
        class_names: of its outputs; None where nobody knows them.
        tier: how its weights were made; None for a pretrained anchor.
        task: what it is for.
    """

    def __init__(
        self,
        parts: Stitch | Anchor,
        *,
        member: Member,
        anchors: Sequence[Architecture],
        class_names: Sequence[str] | None,
        tier: str | None,
        task: TaskName,
    ) -> None:
        """Copy the parts.

        Args:
            parts: whose normalisation statistics are the member's own.
        """
        super().__init__()
        # As one: some parts of a network share modules. What is copied in inference mode could
        # never be trained, and a convolution may round it in another way.
        with torch.inference_mode(False):
            parts = deepcopy(parts)
        self.stem, self.head = parts.stem, parts.head
        if isinstance(parts, Anchor):
            self.front, self.back = nn.Sequential(*parts.blocks), nn.Sequential()
            self.layer: nn.Module = nn.Identity()
        else:
            self.front, self.back = parts.front, parts.back
            self.layer = parts.layer
        self.member = member
        self.anchors = tuple(anchors)
        self.class_names = None if class_names is None else tuple(class_names)
        self.tier = tier
        self.task: TaskName = task
        self.train(parts.training)

    @property
    def name(self) -> str:
        """What it is called in its elastic network or list."""
        return self.member.name

    @property
    def transform(self) -> Transform:
        """How it takes an image: as its source does."""
        return transform_of(self.anchors[0])

    def forward(self, images: Tensor) -> Tensor:
        """Prepared images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.head(self.back(self.layer(self.front(self.stem(images)))))
        return logits

    def prepare(self, picture: Image) -> Tensor:
        """A picture of any size as the network takes it, (C, H, W), on the CPU."""
        return prepared(picture, self.transform)

    def continuation(self, *, cached: bool = True) -> Continuation:
        """It as what continues texts, with a cache of its own for each of its halves.

        :func:`klas.networks.decoders.generation.greedy` takes it from a prompt's tokens on.

        Args:
            cached: whether there are caches; else all tokens run again for each that is new.

        Raises:
            SelectionError: it is for images.
        """
        if self.task != "language":
            raise SelectionError(f"{self.name}: is for {self.task}; only decoders continue texts")
        shells = [shell_of(self.stem), shell_of(self.head)]
        if self.member.target is None:
            return Continuation(shells[-1:], cached=cached)
        blocks = self.member.source_block, self.member.target_block
        return Continuation(shells, cast(Place, blocks), self.layer, cached=cached)

    def document(self) -> NetworkDocument:
        """All but the weights, as plain values; ``weights`` and ``digest`` are filled by saving."""
        return {
            "format": "klas-network",
            "version": 1,
            **saved(self.anchors, task=self.task, class_names=self.class_names),
            "tier": self.tier,
            "member": self.member.to_json(),
            "digest": "",
        }

    def save(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``; :func:`klas.load` reads them.

        Raises:
            StoreError: the folder holds another network, or cannot be written.
        """
        write_folder(Path(folder), self.document(), distinct(self.state_dict()))

    @classmethod
    def from_document(
        cls, document: NetworkDocument, folder: Path, *, allow_code: bool = False
    ) -> Self:
        """What :meth:`save` wrote, in eval mode on the CPU.

        Raises:
            FormatError: the folder is damaged, or says what can't be.
            AnchorError: timm has no such model here, or it is code that is not allowed.
        """
        where = str(folder / "config.json")
        tensors = read_tensors(folder, document["weights"])
        network = cls.blank(document, where, allow_code=allow_code)
        fill(network, tensors, str(folder))
        return network.refreshed()

    @classmethod
    def blank(cls, document: NetworkDocument, where: str, *, allow_code: bool = False) -> Self:
        """The network that a document describes, with weights that mean nothing yet.

        Raises:
            FormatError: it says what can't be.
            AnchorError: timm has no such model here, or it is code that is not allowed.
        """
        member = Member.from_json(document["member"])
        anchors = rebuild_all(document["anchors"], where, allow_code=allow_code)
        parts = _parts(member, anchors, where)
        return cls(
            parts,
            member=member,
            anchors=document["anchors"],
            class_names=document["class_names"],
            tier=document["tier"],
            task=document["task"],
        )

    def refreshed(self) -> Self:
        """Itself: tables that some networks compute from their weights in eval mode are dropped."""
        self.train()
        return self.eval()


def _parts(member: Member, anchors: Mapping[str, Anchor], where: str) -> Stitch | Anchor:
    place = place_of(member, {name: anchor.info.depth for name, anchor in anchors.items()}, where)
    source = anchors[member.source]
    if place is None or member.target is None:
        return source
    (i, j), target = place, anchors[member.target]
    layer = StitchLayer(source.info.layouts[i], target.info.layouts[j])
    return Stitch(source, i, target, j, layer).eval()


def place_of(member: Member, depths: Mapping[str, int], where: str) -> Place | None:
    """(i, j) of a stitch, checked; None for an anchor.

    Args:
        depths: the blocks of every anchor.
        where: the file that says so, for an error's sentence.

    Raises:
        FormatError: it is of anchors that are not there, or of blocks that they don't have.
    """
    ends = [("source", member.source, member.source_block, 1)]
    if member.target is not None:
        ends.append(("target", member.target, member.target_block, 0))
    blocks = []
    for role, name, block, first in ends:
        if name not in depths:
            raise FormatError(
                f"{where}: member {member.name}: {role} {name!r} is not one of its anchors"
            )
        if member.target is None:
            return None
        last = depths[name] - (role == "target")
        if block is None or not first <= block <= last:
            raise FormatError(
                f"{where}: member {member.name}: {role}_block {block} of {name} is out of range "
                f"({first} to {last})"
            )
        blocks.append(block)
    return blocks[0], blocks[1]
