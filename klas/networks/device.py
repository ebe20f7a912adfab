"""The device that the networks run on: which one, and in what precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import nn

from klas.errors import KlasError
from klas.section import PrecisionRule

Precision = Literal["float32", "bfloat16"]


def pick_device(name: str = "auto") -> torch.device:
    """The device that torch knows by a name; ``auto`` is CUDA, else MPS, else the CPU.

    Raises:
        KlasError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise KlasError(f"device {name!r} is not available here; try cpu or auto") from None
    return device


def visible_devices(device: torch.device) -> tuple[str, ...]:
    """What a device stands for: every GPU for ``cuda`` without a number, else itself."""
    if str(device) != "cuda":
        return (str(device),)
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


def forward_precision(device: torch.device, wanted: PrecisionRule = "auto") -> Precision:
    """What forward passes compute in: bfloat16 on CUDA devices built for it, else float32.

    Whatever it is, sums over tokens and samples are kept in float32 or wider.
    """
    if wanted != "auto":
        return wanted
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Compute in ``precision`` what gains from it; the rest stays float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def place(network: nn.Module, device: torch.device) -> None:
    """Move a network to a device, in the memory order that is fastest there.

    CUDA's convolutions are fastest with channels last. A patch embedding, whose windows do not
    overlap, is a matrix product and gains nothing from it.
    """
    network.to(device)
    convolves = any(
        isinstance(module, nn.Conv2d) and max(module.kernel_size) > max(module.stride)
        for module in network.modules()
    )
    if device.type == "cuda" and convolves:
        network.to(memory_format=torch.channels_last)


def peak_device_bytes(device: torch.device) -> int:
    """The most memory that tensors ever took on a CUDA device; 0 elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
