"""Networks again from a stitch list: build, fit or load their layers, and check the figures."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_safetensors
from torch import Tensor

import klas.digits  # noqa: F401 - registers the built-in networks and images
from klas.data import balanced_order, batches, find_unreadable, open_images
from klas.errors import DataError, FormatError, SelectionError
from klas.measures.least_squares import fit_stitch_layers
from klas.networks.anchor import Anchor
from klas.networks.cost import anchor_cost, module_macs
from klas.networks.load import load_anchor
from klas.networks.splitting.split import SPLITTER
from klas.networks.stitch import State, Stitch, StitchLayer, stitch_layer
from klas.pipeline.run import Pipeline
from klas.pipeline.stages import stitch_states
from klas.results.documents.stitches import WeightsFile
from klas.results.formats import file_sha256, read
from klas.results.pair import Pair
from klas.results.stitch_list import stitch_layer_entry
from klas.storage.arrays import under
from klas.storage.store import write_whole
from klas.study import AnchorSpec, Tier


def load_stitch(file: str | Path, index: int, *, allow_code: bool = False) -> Stitch:
    """One stitched network of a list, ready to run: an ``nn.Module`` in eval mode on the CPU.

    With the list's weights file its layers are those that were measured, and it reaches its
    stated accuracy exactly. Without one the layer is fitted again by least squares from the
    training images that the list names, which gives the ``zero_shot`` network.

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
    names = (stitch["source"], stitch["target"])
    anchors = {name: _anchor(document, name, path, allow_code) for name in names}
    weights = document["weights_file"]
    tensors = _read_weights(path, weights) if weights is not None else None
    source, target = _networks(anchors, names, weights, tensors, path)
    if tensors is None:
        return _assembled(stitch, source, target, _fitted(document, stitch, source, target), path)
    network = _assembled(stitch, source, target, _layer_state(tensors, stitch, path), path)
    _load_statistics(network, tensors, stitch, path)
    return network


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
    weights = document["weights_file"]
    tensors = _read_weights(path, weights) if weights is not None else None
    pairs: dict[tuple[str, str], tuple[Anchor, Anchor]] = {}
    for k, stitch in enumerate(document["stitches"]):
        names = (stitch["source"], stitch["target"])
        if names not in pairs:
            pairs[names] = _networks(anchors, names, weights, tensors, path)
        source, target = pairs[names]
        i, j = stitch["source_block"], stitch["target_block"]
        blank = StitchLayer(source.info.layouts[i], target.info.layouts[j]).state_dict()
        state = blank if tensors is None else _layer_state(tensors, stitch, path)
        network = _assembled(stitch, source, target, state, path)
        _load_statistics(network, tensors or {}, stitch, path)
        # Counted on the network itself, not by the sum of parts that made the list.
        image = torch.empty(1, *source.info.transform.input_size, device="meta")
        macs, _ = module_macs(network, image)
        params = sum(p.numel() for p in network.parameters())
        _same(path, f"stitch {k}", "macs", stitch["macs"], macs)
        _same(path, f"stitch {k}", "params", stitch["params"], params)
    return {"file": str(path), "stitches": document["stitches"]}


def save_layers(
    pipeline: Pipeline,
    picked: Sequence[tuple[Pair, NDArray[np.bool_]]],
    tier: Tier,
    path: Path,
) -> WeightsFile:
    """Write the stitch layers (and jointly trained anchors) of chosen stitches to safetensors.

    Returns:
        The list's ``weights_file``: name, sha256, tier.

    Raises:
        SelectionError: a chosen stitch was not measured at that tier yet.
    """
    tensors: dict[str, Tensor] = {}
    for pair, chosen in picked:
        names = (pair.source["name"], pair.target["name"])
        arrays = pipeline.stored_layers(pair, chosen, tier)
        layers = stitch_states(arrays)
        for i, j in pair.stitches[chosen]:
            prefix = _layer_name(*names, int(i), int(j))
            for name, tensor in layers[int(i), int(j)].items():
                tensors[f"{prefix}.{name}"] = tensor
        for name, value in arrays.items():
            if "/" in name:
                tensors[f"{names[0]}|{names[1]}/{name}"] = torch.from_numpy(value.copy())
    if not tensors:
        raise SelectionError("nothing is chosen, so there are no weights to write")
    write_whole(path, save_safetensors(tensors))
    return {"name": path.name, "sha256": file_sha256(path), "tier": tier}


def _anchor(document: Mapping[str, Any], name: str, path: Path, allow_code: bool) -> Anchor:
    entry = next(a for a in document["anchors"] if a["name"] == name)
    spec = AnchorSpec(name=name, model=entry["model"], weights=entry["weights"].get("file"))
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


def _networks(
    anchors: Mapping[str, Anchor],
    names: tuple[str, str],
    weights: WeightsFile | None,
    tensors: Mapping[str, Tensor] | None,
    path: Path,
) -> tuple[Anchor, Anchor]:
    """A pair's anchors as its stitches have them: jointly trained, if the list is."""
    source, target = (anchors[name] for name in names)
    if weights is not None and tensors is not None and weights["tier"] == "finetuned":
        # Copies: other pairs are built from the pretrained anchors.
        source, target = deepcopy(source), deepcopy(target)
        _load_finetuned(source, tensors, names, "source", path)
        _load_finetuned(target, tensors, names, "target", path)
    return source, target


def _read_weights(path: Path, weights: WeightsFile) -> dict[str, Tensor]:
    # By name only: a list can't reach outside its own folder.
    file = path.parent / Path(weights["name"]).name
    if file_sha256(file) != weights["sha256"]:
        raise FormatError(f"{file}: is not the weights file that {path} was written with")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise FormatError(f"{file}: is no safetensors file ({error})") from None


def _layer_state(tensors: Mapping[str, Tensor], stitch: Mapping[str, Any], path: Path) -> State:
    prefix = _layer_name(
        stitch["source"], stitch["target"], stitch["source_block"], stitch["target_block"]
    )
    state = under(tensors, f"{prefix}.")
    if not state:
        raise FormatError(f"{path}: its weights file lacks the stitch {prefix}")
    for tensor in state.values():
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise FormatError(f"{path}: the weights of {prefix} are not finite float32 numbers")
    return state


def _load_statistics(
    network: Stitch, tensors: Mapping[str, Tensor], stitch: Mapping[str, Any], path: Path
) -> None:
    """Give a finetuned stitch the statistics of its own normalisation layers, if it has any."""
    i, j = stitch["source_block"], stitch["target_block"]
    prefix = f"{stitch['source']}|{stitch['target']}/statistics/{i}-{j}/"
    try:
        if network.load_state_dict(under(tensors, prefix), strict=False).unexpected_keys:
            raise FormatError(f"{path}: its weights file does not fit stitch {i} → {j}")
    except RuntimeError:
        raise FormatError(f"{path}: its weights file does not fit stitch {i} → {j}") from None


def _load_finetuned(
    anchor: Anchor, tensors: Mapping[str, Tensor], names: tuple[str, str], role: str, path: Path
) -> None:
    try:
        anchor.load_state_dict(under(tensors, f"{names[0]}|{names[1]}/{role}/"))
    except RuntimeError:
        raise FormatError(
            f"{path}: its weights file does not fit {anchor.info.name}; select again"
        ) from None
    anchor.forget_tables()


def _fitted(
    document: Mapping[str, Any], stitch: Mapping[str, Any], source: Anchor, target: Anchor
) -> State:
    train = document["data"]["train"]
    images = open_images(train["ref"])
    if images.fingerprint != train["fingerprint"]:
        raise DataError(f"{train['ref']}: the images are not those that the list was made with")
    count, seed = document["fit"]["samples"], train["seed"]
    without = [bad.row for bad in find_unreadable(train["ref"], images, count, seed)]
    rows = balanced_order(images.labels, seed, without=without)[:count]
    i, j = stitch["source_block"], stitch["target_block"]
    views = [source.info.transform, target.info.transform]
    loader = batches(images, rows, views, device=torch.device("cpu"))
    fitted = fit_stitch_layers(source, target, loader, [(i, j)], precision=document["precision"])
    return fitted[i, j]


def _assembled(
    stitch: Mapping[str, Any],
    source: Anchor,
    target: Anchor,
    state: State,
    path: Path,
) -> Stitch:
    i, j = stitch["source_block"], stitch["target_block"]
    have, want = source.info.layouts[i], target.info.layouts[j]
    actual = stitch_layer_entry(have.to_json(), want.to_json())
    _same(path, f"stitch {i} → {j}", "stitch_layer", stitch["stitch_layer"], actual)
    try:
        layer = stitch_layer(have, want, state)
    except RuntimeError:
        raise FormatError(
            f"{path}: the weights of stitch {i} → {j} are not those of its T"
        ) from None
    return Stitch(source, i, target, j, layer).eval()


def _same(path: Path, where: str, what: str, stated: Any, actual: Any) -> None:
    if stated != actual:
        raise FormatError(f"{path}: {where}: {what} is stated as {stated}, but is {actual}")


def _layer_name(source: str, target: str, i: int, j: int) -> str:
    return f"{source}|{target}/{i}-{j}"
