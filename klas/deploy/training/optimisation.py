"""timm's optimisers and schedules for the anchors and stitch layers of an elastic network."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from torch import nn
from torch.optim import Optimizer

from klas.deploy.elastic import Elastic
from klas.errors import StudyError, one_line
from klas.networks.anchor import Anchor
from klas.recipe import TrainingSpec

# The first needs gradients of gradients, the others keep what a checkpoint can't hold.
_OTHER_LOOPS = ("adahessian", "kron", "kronc", "kronw")


def make_optimiser(elastic: Elastic, recipe: TrainingSpec) -> Optimizer:
    """One optimiser for all members; biases and what timm exempts have no weight decay.

    Raises:
        StudyError: timm has no such optimiser, or it can't be made here.
    """
    name = recipe.opt.lower()
    known = [one for one in list_optimizers() if one not in _OTHER_LOOPS]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or ["adamw", "sgd"]
        raise StudyError(
            f"[training] opt = {recipe.opt!r}: is no optimiser of timm's that can be used here; "
            f"take {' or '.join(near)}"
        )
    anchors, layers = elastic.parameter_groups()
    exempt = {id(p) for anchor in elastic.anchors.values() for p in _exempt(anchor)}
    groups = [
        *_groups(anchors, recipe.lr, recipe.weight_decay, exempt),
        *_groups(layers, recipe.lr * recipe.stitch_lr, recipe.weight_decay, exempt),
    ]
    try:
        optimiser: Optimizer = create_optimizer_v2(groups, opt=name, lr=recipe.lr)
    except Exception as error:  # some need packages or devices of their own
        raise StudyError(
            f"[training] opt = {recipe.opt!r}: can't be made here ({one_line(error)}); take adamw"
        ) from None
    return optimiser


def make_schedule(optimiser: Optimizer, recipe: TrainingSpec) -> Callable[[int], None]:
    """What sets the learning rates of a step, from 0: timm's schedule, update by update.

    Raises:
        StudyError: timm can't make it.
    """
    try:
        schedule, _ = create_scheduler_v2(
            optimiser,
            sched=recipe.sched,
            num_epochs=recipe.steps,  # timm's epochs are our steps: one update each
            warmup_epochs=round(recipe.warmup * recipe.steps),
            warmup_lr=recipe.warmup_lr,
            min_lr=recipe.min_lr,
            step_on_epochs=False,
            updates_per_epoch=1,
        )
    except Exception as error:  # timm asserts
        raise StudyError(
            f"[training] sched = {recipe.sched!r} with {recipe.steps} steps and warmup = "
            f"{recipe.warmup}: timm can't make it ({one_line(error)})"
        ) from None

    def rate(step: int) -> None:
        schedule.step_update(step)

    return rate


def _groups(
    parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, exempt: set[int]
) -> list[Mapping[str, Any]]:
    free: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for parameter in parameters:
        (free if parameter.ndim < 2 or id(parameter) in exempt else decayed).append(parameter)
    groups = [
        {"params": decayed, "lr": lr, "weight_decay": weight_decay},
        {"params": free, "lr": lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _exempt(anchor: Anchor) -> list[nn.Parameter]:
    """What timm's network itself says should have no weight decay, such as positions."""
    says = getattr(anchor.network, "no_weight_decay", None)
    names = set(says()) if callable(says) else set()
    return [p for name, p in anchor.network.named_parameters() if name in names]
