"""Joint trainings as results: one of a selection, and those that a comparison is made of."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from klas.results.pair import Pair
from klas.results.result import Finetuned, FinetunedWeights, finetuned
from klas.results.selections import method_choice
from klas.study import METRICS, FinetuningSpec, Metric, Study

BUDGETS = (0.0, 1 / 16, 1 / 4, 1.0)
"""Shares of the study's fine-tuning steps at which methods are compared."""


def budget_steps(study: Study) -> list[int]:
    """The fine-tuning steps of every budget, ascending."""
    return sorted({round(share * study.finetuning.steps) for share in BUDGETS})


class Training(NamedTuple):
    """A method's joint training at one budget of steps."""

    metric: Metric
    chosen: NDArray[np.bool_]  # (N,)
    result: Finetuned

    @property
    def steps(self) -> int:
        """The budget."""
        return self.result.weights.finetuning.steps


def joint_training(pair: Pair, chosen: NDArray[np.bool_], settings: FinetuningSpec) -> Finetuned:
    """The joint training of a pair's chosen stitches and its anchors.

    Args:
        chosen: (N,) of the pair's candidates.
    """
    source, target = pair.names
    stitches = tuple(pair.places(chosen))
    return finetuned(
        FinetunedWeights(source=source, target=target, stitches=stitches, finetuning=settings)
    )


def method_trainings(pair: Pair, study: Study) -> list[Training]:
    """A pair's trainings for a comparison: each method's choice, at every budget."""
    choices = [(metric, method_choice(pair, study.selection, metric)) for metric in METRICS]
    budgets = [study.finetuning.model_copy(update={"steps": n}) for n in budget_steps(study)]
    return [
        Training(metric, chosen, joint_training(pair, chosen, settings))
        for settings in budgets
        for metric, chosen in choices
        if chosen.any()
    ]
