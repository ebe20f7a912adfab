"""The tensors of a weights file: safetensors, or a torch checkpoint in which no code is run."""

import argparse
import os
import pickle
import re
import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from timm.models import clean_state_dict
from torch import Tensor, nn

from klas.errors import AnchorError, listing
from klas.foreign import reading

ENTRIES = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training loops keep the weights in a checkpoint, best first: timm's own order."""


def read_checkpoint(file: Path, name: str) -> tuple[dict[str, Tensor], str | None]:
    """A file's tensors, and the entry of :data:`ENTRIES` that holds them, ``None`` at the top.

    Averaged weights come first, as in timm; prefixes of parallel and compiled training are
    removed. Code in a file is never run.

    Args:
        name: the anchor's, for the error's sentence.

    Raises:
        AnchorError: the file is missing or damaged, or holds something other than tensors.
    """
    if not os.path.isfile(file):  # false, where Path's own method raises, for an impossible name
        raise AnchorError(f"{name}: the weights file {file} does not exist")
    kind = "safetensors file" if file.suffix == ".safetensors" else "torch checkpoint"
    wrong = f"{name}: {file} cannot be loaded, it is cut off, damaged or not a {kind}"
    with reading(AnchorError, wrong, "fetch or save it again"):
        return _weights(file, name)


def _weights(file: Path, name: str) -> tuple[dict[str, Tensor], str | None]:
    read = _read_safetensors if file.suffix == ".safetensors" else _unpickle
    checkpoint = read(file, name)
    entry = next((e for e in ENTRIES if isinstance(checkpoint.get(e), dict)), None)
    state = checkpoint[entry] if entry else checkpoint
    if not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise AnchorError(
            f"{name}: {file} holds no weights under {', '.join(ENTRIES)} or at its top, where "
            f"it has {listing(checkpoint)}; save the network's state_dict() alone"
        )
    return clean_state_dict(state), entry


def shared_filled(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state with a tensor under every name that the network has for it.

    Where two modules share a weight, a safetensors file has it once.

    Examples:
        >>> first, second = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> second.weight = first.weight
        >>> network = nn.Sequential(first, second)
        >>> state = network.state_dict()
        >>> once = {name: tensor for name, tensor in state.items() if name != "0.weight"}
        >>> sorted(shared_filled(once, network)) == sorted(state)
        True
    """
    filled = dict(state)
    by_tensor: dict[int, list[str]] = {}
    named = network.named_parameters(remove_duplicate=False)
    for name, parameter in chain(named, network.named_buffers(remove_duplicate=False)):
        by_tensor.setdefault(id(parameter), []).append(name)
    for names in by_tensor.values():
        there = next((name for name in names if name in state), None)
        if there is not None:
            filled |= {name: state[there] for name in names if name not in state}
    return filled


def _read_safetensors(file: Path, name: str) -> dict[str, Any]:
    """Its tensors, those included that ``save_model`` left out because another name has them."""
    with safe_open(file, "pt") as opened:
        same = opened.metadata() or {}
    tensors: dict[str, Any] = load_file(file)
    left_out = {k: tensors[v] for k, v in same.items() if v in tensors and k not in tensors}
    return tensors | left_out


def _unpickle(file: Path, name: str) -> dict[str, Any]:
    try:
        # timm's training script keeps its arguments, a Namespace, beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged bytes torch would ask for an issue
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden is None:
            raise AnchorError(
                f"{name}: {file} cannot be loaded, it is not a torch checkpoint of plain tensors "
                "and was not run; give a .pth, .pt or .safetensors file of a state_dict"
            ) from None
        raise AnchorError(
            f"{name}: {file} is a pickle that holds more than tensors ({forbidden[1]}) and was "
            "not run; save its state_dict as safetensors"
        ) from None
    if not isinstance(checkpoint, dict):
        raise AnchorError(
            f"{name}: {file} holds a {type(checkpoint).__name__}, not a state_dict; "
            "save the network's state_dict() alone"
        )
    return checkpoint
