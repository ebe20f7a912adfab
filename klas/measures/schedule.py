"""What makes a training loop resumable: its schedule and its checkpoint.

Order and learning rates depend on the step alone, and the state is one safetensors file.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from klas.storage.arrays import under
from klas.storage.files import write_whole

_NUMBERS = (bool, int, float)

WARMUP = 0.1  # the share of the steps in which the rate rises


def one_cycle(step: int, steps: int) -> float:
    """The learning rate at a step as a share of its peak: a line up, then a cosine down.

    Args:
        step: from 0.
        steps: how many there are in all.

    Examples:
        >>> [round(one_cycle(step, 10), 2) for step in (0, 5, 9)]
        [0.5, 0.5, 0.01]
    """
    done = (step + 0.5) / steps
    if done < WARMUP:
        return done / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP)))


def batch_rows(first: int, last: int, *, rows: int, batch: int, seed: int) -> NDArray[np.int64]:
    """((last − first) · batch,) row numbers for steps first … last − 1.

    Epoch after epoch, each a seeded permutation. A batch may straddle two epochs, so every row
    comes up equally often whatever the sizes.

    Args:
        first, last: steps from 0; the last is excluded.
        rows: how many rows there are.
        batch: rows of a step.
        seed: fixes the order.

    Examples:
        Three steps of two rows are one epoch of six rows, and step 2 is the same on its own:

        >>> order = batch_rows(0, 3, rows=6, batch=2, seed=0)
        >>> np.sort(order)
        array([0, 1, 2, 3, 4, 5])
        >>> bool((batch_rows(2, 3, rows=6, batch=2, seed=0) == order[4:]).all())
        True
    """
    positions = np.arange(first * batch, last * batch)
    epochs = positions // rows
    picked = np.empty(len(positions), dtype=np.int64)
    for epoch in np.unique(epochs):
        order = _epoch_order(seed, int(epoch), rows)
        here = epochs == epoch
        picked[here] = order[positions[here] % rows]
    return picked


@lru_cache(maxsize=2)  # a training asks for one step after another
def _epoch_order(seed: int, epoch: int, rows: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(rows)


def drawn_member(seed: int, step: int, members: int) -> int:
    """Which of some members a step trains: each is as likely, whatever ran before.

    Examples:
        >>> [drawn_member(0, step, 3) for step in range(8)]
        [2, 1, 2, 1, 1, 2, 1, 2]
    """
    return int(np.random.default_rng([seed, step]).integers(members))


def save_training(
    path: Path, step: int, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> None:
    """Write the state after ``step`` steps, whole or not at all.

    Args:
        path: the file, a safetensors file.
        step: how many steps are done.
        modules: what is trained, by name.
        optimizer: its state is written too.

    Raises:
        StoreError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {"step": torch.tensor(step)}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            tensors[f"module/{name}/{key}"] = value.detach().cpu().clone()
    stated = optimizer.state_dict()
    plain: dict[str, Any] = {"groups": [], "state": {}}  # some optimisers count in Python's numbers
    for index, group in enumerate(stated["param_groups"]):
        plain["groups"].append({k: v for k, v in group.items() if isinstance(v, _NUMBERS)})
        tensors |= _tensors(f"group/{index}/", group)
    for index, state in stated["state"].items():
        tensors |= _tensors(f"optimizer/{index}/", state)
        plain["state"] |= {
            f"{index}/{key}": value for key, value in state.items() if not isinstance(value, Tensor)
        }
    tensors["plain"] = torch.frombuffer(bytearray(json.dumps(plain).encode()), dtype=torch.uint8)
    tensors["sha256"] = _checksum(tensors)
    write_whole(path, save_safetensors(tensors))


def _checksum(tensors: Mapping[str, Tensor]) -> Tensor:
    """(32,) of names, types, shapes and values: a flipped bit would be trained on, and kept."""
    sha256 = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        sha256.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        sha256.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return torch.frombuffer(bytearray(sha256.digest()), dtype=torch.uint8)


def _tensors(prefix: str, values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {
        f"{prefix}{key}": value.detach().cpu().clone()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }


def steps_done(path: Path) -> int:
    """How many steps a checkpoint holds; 0 if there is none."""
    try:
        with safe_open(path, framework="pt") as tensors:
            return int(tensors.get_tensor("step"))
    except (OSError, SafetensorError):
        return 0


def load_training(
    path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> int:
    """Restore what :func:`save_training` wrote, in place.

    Returns:
        The steps done; 0, with nothing changed, if there is no file that fits and is whole.
    """
    try:
        tensors = load_safetensors(path.read_bytes())
        noted = tensors.pop("sha256", None)  # which an older klas did not write
        if noted is not None and not torch.equal(noted, _checksum(tensors)):
            return 0
        step = int(tensors.pop("step"))
        plain = json.loads(tensors.pop("plain").numpy().tobytes())
    except (OSError, SafetensorError, KeyError, ValueError):  # the last: no JSON
        return 0
    own: dict[str, dict[str, Tensor]] = {}
    for name, module in modules.items():
        own[name] = under(tensors, f"module/{name}/")
        shapes = {k: v.shape for k, v in module.state_dict().items()}
        if {k: v.shape for k, v in own[name].items()} != shapes:
            return 0  # of another network; nothing was loaded yet
    for name, module in modules.items():
        module.load_state_dict(own[name])
    state: dict[int, dict[str, Any]] = {}
    for name, value in (under(tensors, "optimizer/") | plain["state"]).items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    stated = optimizer.state_dict()
    groups = [
        known | kept | under(tensors, f"group/{index}/")
        for index, (known, kept) in enumerate(zip(stated["param_groups"], plain["groups"]))
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return step
