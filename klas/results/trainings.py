"""Joint trainings as results: one of a selection, and those that a comparison is made of."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from klas.results.pair import Pair
from klas.results.result import Finetuned, FinetunedWeights, finetuned
from klas.results.selections import choose, own_or_fair_share, racing_in
from klas.study import METRICS, FinetuningSpec, Metric, Study

BUDGETS = (0.0, 1 / 16, 1 / 4, 1.0)
"""Shares of the study's fine-tuning steps at which methods are compared."""


def budget_steps(study: Study) -> list[int]:
    """The fine-tuning steps of every budget, ascending."""
    return sorted({round(share * study.finetuning.steps) for share in BUDGETS})


class Training(NamedTuple):
    """A training of a comparison, at one budget of steps.

    Attributes:
        metric: the method; None for the baseline, the anchors alone.
        steps: the budget.
        chosen: (N,) of the pair's candidates.
        result: what it gives.
    """

    metric: Metric | None
    steps: int
    chosen: NDArray[np.bool_]
    result: Finetuned

    @property
    def name(self) -> str:
        """For a progress bar and for errors."""
        return self.metric or "the anchors alone"


def joint_training(
    pair: Pair,
    chosen: NDArray[np.bool_],
    settings: FinetuningSpec,
    racing: NDArray[np.int64] | None = None,
) -> Finetuned:
    """The joint training of a pair's chosen stitches and its anchors.

    Args:
        chosen: (N,) of the pair's candidates.
        racing: (N,) the buckets in which they race, if they do (:func:`racing_in`).
    """
    source, target = pair.names
    return finetuned(
        FinetunedWeights(
            source=source,
            target=target,
            stitches=tuple(pair.places(chosen)),
            finetuning=settings,
            racing=() if racing is None else tuple(racing[chosen].tolist()),
        )
    )


def anchors_training(pair: Pair, settings: FinetuningSpec) -> Finetuned:
    """The baseline of a budget: a pair's anchors without stitches.

    They share nothing, and a step trains one of the two at random, so each is trained alone. There
    are twice the steps, so that each has as many as a method's whole selection.

    Args:
        settings: those of the methods' trainings.
    """
    twice = settings.model_copy(update={"steps": 2 * settings.steps})
    return joint_training(pair, np.zeros(len(pair.macs), dtype=bool), twice)


def method_trainings(pair: Pair, study: Study) -> list[Training]:
    """A pair's trainings for a comparison: each method's choice, at every budget.

    Beside them the anchors alone, at every budget but that of no steps.
    """
    ours = choose(pair, study.selection.model_copy(update={"metric": "kl"}))
    choices = [(metric, own_or_fair_share(pair, ours, "kl", metric)) for metric in METRICS]
    budgets = [study.finetuning.model_copy(update={"steps": n}) for n in budget_steps(study)]
    methods = [
        Training(
            metric,
            settings.steps,
            chosen,
            joint_training(pair, chosen, settings, racing_in(ours, metric)),
        )
        for settings in budgets
        for metric, chosen in choices
        if chosen.any()
    ]
    none = np.zeros(len(pair.macs), dtype=bool)
    baselines = [
        Training(None, settings.steps, none, anchors_training(pair, settings))
        for settings in budgets
        if settings.steps
    ]
    return methods + (baselines if methods else [])
