"""What a training will take on this machine, before it begins."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from klas.deploy.elastic import Elastic
from klas.deploy.training.loading import StepImages
from klas.deploy.training.ranks import Ranks
from klas.memory import available_memory_bytes, peak_memory_bytes
from klas.networks.anchor import Anchor
from klas.networks.batch_size import enough_memory_for
from klas.networks.device import Precision, autocast

TIMED_IMAGES = 16  # of a part, where the device has to be quick
COPIES = 4  # of every weight in training: itself, its gradient and AdamW's two moments
FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a training takes, about.

    Attributes:
        seconds: for the steps that are left.
        disk_bytes: of the checkpoint and the network.
        memory_bytes: of a process, and of its device.
    """

    seconds: float
    disk_bytes: int
    memory_bytes: int


def expected(
    elastic: Elastic,
    images: StepImages,
    ranks: Ranks,
    *,
    done: int,
    workers: int,
    precision: Precision,
) -> Expected:
    """Time a pass forward and back through every anchor, and the loading of a step's images.

    Args:
        done: the steps that a checkpoint holds.
        workers: processes that prepare images.
        precision: of forward passes.

    Raises:
        KlasError: a part of a batch does not fit into memory.
    """
    plan = images.plan
    recipe = plan.recipe
    part = recipe.batch // plan.parts
    count = part if ranks.device.type == "cuda" else min(part, TIMED_IMAGES)
    macs = {member.name: member.macs for member in elastic.members}
    passed = [name for name in elastic.anchors if name in macs]
    with enough_memory_for(f"{part} images at once; lower [training] batch, or raise accumulate"):
        if ranks.device.type == "cpu":
            _refuse_too_large(elastic, passed, part, precision)
        seconds = {name: _pass_seconds(elastic, name, count, precision) for name in passed}
    per_mac = sum(seconds.values()) / sum(macs[name] for name in passed) / count
    computing = per_mac * sum(macs.values()) / len(macs) * recipe.batch / ranks.count
    if plan.teacher is not None:
        computing += per_mac * macs[plan.teacher] * recipe.batch / ranks.count / 3
    loading = min(_loading_seconds(images) for _ in range(2))  # at first pictures may be drawn
    # Workers load while this process computes.
    step = computing + loading if workers == 0 else max(computing, loading / workers)
    weights = FLOAT_BYTES * sum(parameter.numel() for parameter in elastic.parameters())
    averages = 1 + bool(recipe.ema_decay)
    return Expected(
        seconds=step * (recipe.steps - done),
        disk_bytes=weights * (COPIES - 1 + averages),
        memory_bytes=peak_memory_bytes() + weights * (COPIES - 2 + averages),
    )


def _refuse_too_large(
    elastic: Elastic, passed: Sequence[str], part: int, precision: Precision
) -> None:
    """Refuse a part of a batch for which a CPU's memory won't do: the system would end the process.

    Raises:
        MemoryError: what one image keeps for the way back says so.
    """
    free = available_memory_bytes()
    needed = part * max(_kept_bytes(elastic.anchors[name], precision) for name in passed)
    if free is not None and needed > free:
        raise MemoryError


def _kept_bytes(anchor: Anchor, precision: Precision) -> int:
    """What a pass of one image more keeps for the way back."""
    device = next(anchor.parameters()).device
    anchor.requires_grad_(True)

    def kept(count: int) -> int:
        sizes: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        pictures = torch.zeros(count, *anchor.info.images.input_size, device=device)
        with saved_tensors_hooks(note, lambda tensor: tensor), autocast(device, precision):
            anchor(pictures)
        return sum(sizes.values())

    return kept(3) - kept(2)  # weights are kept too; one image alone is no batch to normalise over


def _loading_seconds(images: StepImages) -> float:
    """Of one step's images."""
    began = time.perf_counter()
    images[0]
    return time.perf_counter() - began


def _pass_seconds(elastic: Elastic, name: str, count: int, precision: Precision) -> float:
    """Of a pass forward and back through an anchor, the better of two."""
    anchor = elastic.anchors[name]
    device = next(anchor.parameters()).device
    pictures = torch.zeros(count, *anchor.info.images.input_size, device=device)
    anchor.requires_grad_(True)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        with autocast(device, precision):
            loss = anchor(pictures).float().square().mean()
        loss.backward()
        loss.item()  # waits for the device
        times.append(time.perf_counter() - began)
        for parameter in anchor.parameters():
            parameter.grad = None
    return min(times)
