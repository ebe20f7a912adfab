"""The device that the networks run on: which one, in what precision, how many images at once."""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Protocol, TypeVar

import torch
from torch import nn

from klas.errors import KlasError
from klas.study import PrecisionRule

Precision = Literal["float32", "bfloat16"]

LARGEST_BATCH = 256  # beyond it no network here gains
CPU_BUDGET_BYTES = 2**30  # for activations; also on MPS, whose memory is the CPU's
CUDA_SHARE = 0.5  # of what is free: the rest is the libraries' and other processes'
INSIDE_BLOCK = 8  # what a block holds while it runs, in activations (attention and MLP)
FLOAT_BYTES = 4

_NO_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "out of shared memory")

Result = TypeVar("Result")


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA, else MPS, else the CPU; otherwise what torch calls the device.

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


def forward_precision(device: torch.device, wanted: PrecisionRule = "auto") -> Precision:
    """What forward passes compute in: bfloat16 on CUDA devices built for it, else float32.

    Whatever it is, sums over tokens and samples are kept in float32 or wider.
    """
    if wanted != "auto":
        return wanted
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Within it, what gains from ``precision`` runs in it and the rest stays float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def place(network: nn.Module, device: torch.device) -> None:
    """Move a network to a device, there in the memory order that suits it.

    CUDA's convolutions are fastest with channels last. A patch embedding, whose windows do not
    overlap, is a matrix product and no reason for it.
    """
    network.to(device)
    convolves = any(
        isinstance(module, nn.Conv2d) and max(module.kernel_size) > max(module.stride)
        for module in network.modules()
    )
    if device.type == "cuda" and convolves:
        network.to(memory_format=torch.channels_last)


def peak_device_bytes(device: torch.device) -> int:
    """The most memory that tensors ever held on a CUDA device; 0 elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


class Form(Protocol):
    """An activation's form at a cut, as :class:`klas.networks.anchor.Layout` is."""

    @property
    def channels(self) -> int:
        """Values at each position."""
        ...

    @property
    def positions(self) -> int:
        """Tokens or pixels of an image."""
        ...


def image_bytes(*anchors: Iterable[Form]) -> int:
    """Bytes that one image takes, about: every cut's activation, and the largest block at work.

    Args:
        anchors: for each anchor that runs at the same time, its layouts.
    """
    cuts = [form.channels * form.positions for forms in anchors for form in forms]
    return FLOAT_BYTES * (sum(cuts) + INSIDE_BLOCK * max(cuts))


def memory_budget_bytes(device: torch.device) -> int:
    """What a batch's activations may take on a device now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(CUDA_SHARE * free)
    return CPU_BUDGET_BYTES


class BatchSize:
    """How many images go through the networks at once: what fits, and less after a failure.

    Attributes:
        size: the largest that is allowed now, a power of two.
    """

    def __init__(self, image_bytes: int, budget_bytes: int) -> None:
        fitting = max(1, budget_bytes // max(image_bytes, 1))
        self.size: int = min(LARGEST_BATCH, 2 ** (fitting.bit_length() - 1))

    def retrying(
        self, make: Callable[[Callable[[int], None]], Result], tick: Callable[[int], None]
    ) -> Result:
        """``make(tick)``, from its start again with batches half as large while memory lacks.

        What an attempt has already told ``tick`` is not told again by the next one.

        Args:
            make: work that reads :attr:`size` when it starts.

        Raises:
            KlasError: one image at a time is still too much.
        """
        told = 0
        while True:
            done = 0

            def forward(amount: int) -> None:
                nonlocal told, done
                done += amount
                if done > told:
                    tick(done - told)
                    told = done

            try:
                return make(forward)
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
                if self.size == 1:
                    raise KlasError(
                        "the memory does not suffice for a single image; choose smaller "
                        "anchors or another --device, or end what else holds memory"
                    ) from None
            # Outside the handler: the error would hold on to the failed attempt's tensors.
            self.size //= 2
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, whatever device or library says it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)


@contextmanager
def enough_memory_for(what: str) -> Iterator[None]:
    """Say in one sentence that memory ran out; for work whose batch belongs to its result.

    Raises:
        KlasError: it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        raise KlasError(f"the memory does not suffice for {what}") from None
