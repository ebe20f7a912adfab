"""The loss of a step: the task's, and what a teacher adds to it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from klas.networks.device import Precision, autocast
from klas.recipe import TrainingSpec
from klas.tasks.objective import Objective

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From a member's outputs, the targets and a teacher's outputs, if there is one, to one number."""


def make_loss(recipe: TrainingSpec, objective: Objective) -> Loss:
    """The loss that a recipe asks for.

    With weight w it is (1 − w) · the task's + w · the teacher's: the task's under the classes that
    it predicts (hard), or T² · D_KL(teacher ‖ member) of probabilities at temperature T (soft).
    """
    weight, temperature = recipe.distillation_weight, recipe.temperature

    def loss(outputs: Tensor, targets: Tensor, taught: Tensor | None) -> Tensor:
        own = objective.loss(outputs, targets)
        if taught is None:
            return own
        if recipe.distillation == "hard":
            theirs = objective.loss(outputs, objective.hard_targets(taught))
        else:
            theirs = temperature**2 * kl_div(
                log_softmax(outputs.float() / temperature, -1),
                log_softmax(taught.float() / temperature, -1),
                reduction="batchmean",
                log_target=True,
            )
        return (1 - weight) * own + weight * theirs

    return loss


@torch.no_grad()
def taught_by(teacher: torch.nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """A teacher's outputs, (N, classes), for images as it sees them."""
    with autocast(images.device, precision):
        outputs: Tensor = teacher(images)
    return outputs
