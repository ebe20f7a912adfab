"""The weights file of a stitch list: the layers of a tier, and jointly trained anchors with them.

Its tensors are named ``f|g/…``, where … is the name of an array of the pair's family
(:meth:`klas.networks.family.Family.to_arrays`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from safetensors.torch import save as save_safetensors
from torch import Tensor

from klas.errors import FormatError, SelectionError
from klas.foreign import reading
from klas.networks.anchor import Anchor
from klas.networks.family import Family, layer_states
from klas.pipeline.run import Pipeline
from klas.results.accuracies import Racing
from klas.results.documents.stitches import WeightsFile
from klas.results.formats import file_sha256
from klas.results.pair import Pair
from klas.selection.space import Place, name_of
from klas.storage.arrays import Arrays, under
from klas.storage.files import write_whole
from klas.study import Tier


def save_layers(
    pipeline: Pipeline,
    picked: Sequence[tuple[Pair, NDArray[np.bool_], Racing]],
    tier: Tier,
    path: Path,
) -> WeightsFile:
    """Write the stitch layers (and jointly trained anchors) of chosen stitches to safetensors.

    Args:
        picked: of each pair what is chosen, (N,), and the buckets in which that raced, if it did.

    Returns:
        The list's ``weights_file``: name, sha256, tier.

    Raises:
        SelectionError: a chosen stitch was not measured at that tier yet.
    """
    tensors: dict[str, Tensor] = {}
    for pair, chosen, racing in picked:
        arrays, names = pipeline.stored_layers(pair, chosen, tier, racing), pair.names
        places = set(layer_states(arrays))
        for place in pair.places(chosen):
            # What a race lacks dropped out.
            if place not in places and racing is None:
                raise SelectionError(
                    f"{pair.name}, {place[0]} → {place[1]}: its tuning diverged, so it has no "
                    f"layer of tier {tier}; lower [tuning] lr, or take another tier's weights"
                )
        tensors |= weights_of(names, arrays, [p for p in pair.places(chosen) if p in places])
    if not tensors:
        raise SelectionError("nothing is chosen, so there are no weights to write")
    write_whole(path, save_safetensors(tensors))
    return {"name": path.name, "sha256": file_sha256(path), "tier": tier}


def weights_of(
    names: tuple[str, str], arrays: Arrays, places: Sequence[Place]
) -> dict[str, Tensor]:
    """Some stitches of a pair as a weights file has them, and the anchors if they were trained.

    Args:
        arrays: as the store holds them.
    """
    tensors: dict[str, Tensor] = {}
    layers = layer_states(arrays)
    for place in places:
        for entry, value in layers[place].items():
            tensors[f"{_prefix(*names)}{name_of(place)}.{entry}"] = value
        for entry, array in under(arrays, own := f"statistics/{name_of(place)}/").items():
            tensors[f"{_prefix(*names)}{own}{entry}"] = torch.from_numpy(array.copy())
    for role in ("source/", "target/"):
        for entry, array in under(arrays, role).items():
            tensors[f"{_prefix(*names)}{role}{entry}"] = torch.from_numpy(array.copy())
    return tensors


@dataclass(frozen=True, kw_only=True)
class ListWeights:
    """The weights file of a list.

    Attributes:
        path: the list's, for an error's sentence.
        tier: what its layers are of.
        tensors: all of them, by name.
    """

    path: Path
    tier: str
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path, stated: WeightsFile | None) -> Self | None:
        """What a list states of its weights; None if it has none.

        Raises:
            FormatError: the file is another one, or damaged.
        """
        if stated is None:
            return None
        # By name only: a list can't reach outside its own folder.
        file = path.parent / Path(stated["name"]).name
        if file_sha256(file) != stated["sha256"]:
            raise FormatError(f"{file}: is not the weights file that {path} was written with")
        with reading(FormatError, f"{file}: is not a safetensors file", "copy it again"):
            return cls(path=path, tier=stated["tier"], tensors=load_file(file))

    def family(self, source: Anchor, target: Anchor, places: Sequence[Place]) -> Family:
        """Some stitches of a pair, with the layers, anchors and statistics that the file has.

        Raises:
            FormatError: it lacks one, or they do not fit.
        """
        with reading(FormatError, f"{self.path}: its weights file does not fit", "select again"):
            return self._family(source, target, places)

    def _family(self, source: Anchor, target: Anchor, places: Sequence[Place]) -> Family:
        entries = under(self.tensors, _prefix(source.info.name, target.info.name))
        for wanted in places:
            self._check_values(entries, wanted, _prefix(source.info.name, target.info.name))
        if self.tier == "finetuned":
            for role, anchor in (("source", source), ("target", target)):
                self._check_fit(anchor, under(entries, f"{role}/"), anchor.info.name)
        else:
            entries = {n: v for n, v in entries.items() if not n.startswith(("source/", "target/"))}
        try:
            family = Family.from_arrays(source, target, entries, places)
        except RuntimeError:
            named = " or ".join("{} → {}".format(*place) for place in places)
            raise FormatError(
                f"{self.path}: the weights of stitch {named} are not those of its T"
            ) from None
        if (place := family.misfit()) is not None:
            named = "{} → {}".format(*place)
            raise FormatError(f"{self.path}: its weights file does not fit stitch {named}")
        return family

    def _check_values(self, entries: Mapping[str, Tensor], place: Place, prefix: str) -> None:
        name = f"{prefix}{name_of(place)}"
        state = under(entries, f"{name_of(place)}.")
        if not state:
            raise FormatError(f"{self.path}: its weights file lacks the stitch {name}")
        for tensor in state.values():
            if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
                raise FormatError(
                    f"{self.path}: the weights of {name} are not finite float32 numbers"
                )

    def _check_fit(self, anchor: Anchor, state: Mapping[str, Tensor], name: str) -> None:
        wanted = {entry: value.shape for entry, value in anchor.state_dict().items()}
        if {entry: value.shape for entry, value in state.items()} != wanted:
            raise FormatError(f"{self.path}: its weights file does not fit {name}; select again")


def _prefix(source: str, target: str) -> str:
    """What begins the names of a pair's tensors in a weights file."""
    return f"{source}|{target}/"
