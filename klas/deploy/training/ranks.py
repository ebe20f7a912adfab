"""Several processes that train together (``torchrun``): what they share, and that they agree."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from klas.errors import KlasError, one_line
from klas.networks.device import pick_device

PATIENCE = timedelta(hours=2)  # the others may be measuring for as long

Result = TypeVar("Result")
Number = TypeVar("Number", int, None)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """One of the processes that train together.

    Attributes:
        rank: its number; 0 writes files and speaks.
        count: how many there are.
        device: where it computes.
    """

    rank: int = 0
    count: int = 1
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether it writes files and speaks."""
        return self.rank == 0

    def share(self, parameters: list[nn.Parameter], loss: Tensor) -> Tensor:
        """Average the gradients, in place, and the loss.

        By hand: one member a step uses the same few parameters in every process, and only these
        are sent.
        """
        if self.count == 1:
            return loss
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([loss.reshape(1), *(gradient.reshape(-1) for gradient in gradients)])
        dist.all_reduce(flat)
        flat /= self.count
        sizes = [1, *(gradient.numel() for gradient in gradients)]
        averaged = flat.split(sizes)
        for gradient, value in zip(gradients, averaged[1:]):
            gradient.copy_(value.view(gradient.shape))
        return flat[0]

    def start_alike(self, module: nn.Module) -> None:
        """Take the first process's parameters, whatever rounding made of them elsewhere."""
        if self.count > 1:
            for parameter in module.parameters():
                dist.broadcast(parameter.data, 0)

    def collect(self, own: Result) -> list[Result]:
        """What every process has, in order, for all of them."""
        if self.count == 1:
            return [own]
        every: list[Any] = [None] * self.count
        dist.all_gather_object(every, own)
        return every

    def together(self, work: Callable[[], Result]) -> Result:
        """Do some work in every process; if one is refused, all are, with its sentence.

        Raises:
            KlasError: as the work in the first process that was refused; the others would wait.
        """
        refused: KlasError | None = None
        try:
            result = work()
        except KlasError as error:
            refused = error
        sentences = self.collect(None if refused is None else str(refused))
        if refused is not None:
            raise refused
        for rank, sentence in enumerate(sentences):
            if sentence is not None:
                raise KlasError(f"process {rank}: {sentence}")
        return result

    def agree(self, facts: Mapping[str, str]) -> None:
        """Refuse processes that don't have the same.

        Args:
            facts: what must be the same, by what it is called in the sentence.

        Raises:
            KlasError: in every process, if one differs from the first.
        """
        first, *others = self.collect(dict(facts))
        for rank, other in enumerate(others, 1):
            for name, value in first.items():
                if other.get(name) != value:
                    raise KlasError(
                        f"process {rank} has other {name} than process 0 ({other.get(name)}, "
                        f"not {value}); give all processes the same"
                    )


@contextmanager
def joined(wish: str) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started; alone, if it started none.

    Args:
        wish: the device, as :func:`klas.networks.device.pick_device` takes it; of several GPUs
            every process takes the one of its own number.

    Raises:
        KlasError: there is no such device, more processes than GPUs, or something else than
            ``torchrun`` started them.
    """
    count, local = _number("WORLD_SIZE", 1), _number("LOCAL_RANK", None)
    device = pick_device(wish)
    if count == 1:
        yield Ranks(device=device)
        return
    if local is None:
        raise KlasError(
            f"WORLD_SIZE says that {count} processes train together, but LOCAL_RANK is not set; "
            "start them by torchrun, or unset WORLD_SIZE to train with one"
        )
    if str(device) == "cuda":
        if local >= torch.cuda.device_count():
            raise KlasError(
                f"process {local} has no GPU, for there are {torch.cuda.device_count()}; start "
                "as many processes (torchrun --nproc-per-node), or add --device cpu"
            )
        device = torch.device("cuda", local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Objects and what lies on the CPU go by gloo, so that no GPU waits for them.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:  # a variable is lacking, or nobody answers
        raise KlasError(
            f"the {count} processes cannot be joined ({one_line(error)}); start them by torchrun"
        ) from None
    try:
        yield Ranks(rank=dist.get_rank(), count=count, device=device)
    finally:
        dist.destroy_process_group()


def _number(variable: str, unset: Number) -> int | Number:
    """What the environment says of the processes.

    Raises:
        KlasError: it is no whole number.
    """
    value = os.environ.get(variable)
    if value is None:
        return unset
    try:
        return int(value)
    except ValueError:
        raise KlasError(
            f"the environment variable {variable} = {value!r}: is no whole number; start the "
            "processes by torchrun, or unset it"
        ) from None
