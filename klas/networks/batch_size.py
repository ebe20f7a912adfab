"""How many images go through the networks at once: what fits in memory, less after a failure."""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from klas.errors import KlasError
from klas.networks.layout import Layout

LARGEST_BATCH = 256  # beyond it no network here gains
CPU_BUDGET_BYTES = 2**30  # for activations; also on MPS, whose memory is the CPU's
CUDA_SHARE = 0.5  # of what is free: the rest is for libraries and other processes
INSIDE_BLOCK = 8  # activations that a block needs while it runs (attention and MLP)
FLOAT_BYTES = 4

_NO_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "out of shared memory")

Result = TypeVar("Result")


def image_bytes(*anchors: Iterable[Layout]) -> int:
    """Bytes that one image takes, about: at every cut, and inside the largest block.

    Args:
        anchors: for each anchor that runs at the same time, its layouts.
    """
    cuts = [layout.channels * layout.positions for layouts in anchors for layout in layouts]
    return FLOAT_BYTES * (sum(cuts) + INSIDE_BLOCK * max(cuts))


def memory_budget_bytes(device: torch.device) -> int:
    """How many bytes a batch's activations may take on a device now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(CUDA_SHARE * free)
    return CPU_BUDGET_BYTES


class BatchSize:
    """How many images go through the networks at once.

    Attributes:
        size: the largest number that is allowed now, a power of two.
    """

    def __init__(self, image_bytes: int, budget_bytes: int) -> None:
        fitting = max(1, budget_bytes // max(image_bytes, 1))
        self.size: int = min(LARGEST_BATCH, 2 ** (fitting.bit_length() - 1))

    def retrying(
        self, make: Callable[[Callable[[int], None]], Result], tick: Callable[[int], None]
    ) -> Result:
        """``make(tick)``, started again with batches half as large each time that memory runs out.

        An attempt does not report to ``tick`` again what an earlier one has reported.

        Args:
            make: work that reads :attr:`size` when it starts.
            tick: called with the number of images just done.

        Raises:
            KlasError: one image at a time is still too much.
        """
        reported = 0
        while True:
            done = 0

            def forward(amount: int) -> None:
                nonlocal reported, done
                done += amount
                if done > reported:
                    tick(done - reported)
                    reported = done

            try:
                return make(forward)
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
                if self.size == 1:
                    raise KlasError(
                        "there is not enough memory for a single image; choose smaller "
                        "anchors or another --device, or end other programs that use memory"
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
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in message for phrase in _NO_MEMORY)


@contextmanager
def enough_memory_for(what: str) -> Iterator[None]:
    """For work whose result depends on its batch size, so that it can't be retried with less.

    Raises:
        KlasError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        raise KlasError(f"there is not enough memory for {what}") from None
