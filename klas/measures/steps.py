"""The steps of every training of several members, whatever a step's member, loss and rate are."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from klas.errors import DivergedError

Batch = TypeVar("Batch")

Share = Callable[[list[nn.Parameter], Tensor], Tensor]
"""Makes one gradient, in place, and one loss, which it returns, of those of several processes."""


def alone(parameters: list[nn.Parameter], loss: Tensor) -> Tensor:
    """Of one process."""
    return loss


def descend(
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    losses: Callable[[int, Batch], Iterable[Tensor]],
    *,
    first: int,
    last: int,
    rate: Callable[[int], None],
    clip: float,
    diverged: Callable[[int], str],
    share: Share = alone,
) -> Iterator[float]:
    """Take steps; after each give its loss, and wait for what is done between two of them.

    Args:
        optimizer: what is trained; a parameter that no loss of a step reaches stays as it is.
        batches: of step ``first`` and all that follow.
        losses: from a step, from 0, and its batch to the parts of its loss, which are added up.
            The gradient of one is taken before the next is asked for.
        first, last: steps; the last is excluded.
        rate: sets the learning rates of a step.
        clip: the greatest norm of the gradient; 0 for none.
        diverged: the sentence to say of a step whose loss is no number.
        share: how processes come together.

    Raises:
        DivergedError: a loss is no longer a number.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for step, batch in zip(range(first, last), batches):
        optimizer.zero_grad()
        parts = []
        for loss in losses(step, batch):
            loss.backward()
            parts.append(loss.detach())
        value = share(parameters, torch.stack(parts).sum()).item()
        if not math.isfinite(value):
            raise DivergedError(diverged(step))
        rate(step)
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        yield value
