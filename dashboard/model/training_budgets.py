"""What a comparison has at its budgets of joint training, and what it lacks. Pure functions."""

from collections.abc import Mapping
from typing import Literal

from klas.results.comparison_view import AnyMethodFigures, chosen_of
from klas.results.documents.comparison import ComparedPair, Figure, PairsMethodFigures
from klas.study import Metric

Methods = Mapping[Metric, AnyMethodFigures]
"""The figures of some methods, on one pair or over all pairs."""

BudgetFigure = Literal["mean_top1", "auc_stitches"]
"""What can be shown over the budgets, as the form calls it."""


def budgets_of(methods: Methods) -> list[int]:
    """The budgets at which any method is measured, in steps, ascending."""
    return sorted(
        {
            int(steps)
            for method in methods.values()
            for steps, areas in (method.get("budgets") or {}).items()
            if areas and areas["mean_top1"]
        }
    )


def budget_pairs(methods: Mapping[Metric, PairsMethodFigures], name: BudgetFigure) -> int:
    """How many pairs a figure over all pairs is a mean of."""
    pairs = [
        figure["pairs"]
        for method in methods.values()
        for areas in method["budgets"].values()
        if areas and (figure := areas[name])
    ]
    return max(pairs, default=0)


def untrained(pair: ComparedPair) -> list[int]:
    """The steps of every training that a pair still lacks; methods with equal sets share one.

    A race shares its own with none. The anchors alone are one too, where the document knows of
    them.
    """
    missing = {
        (
            int(steps),
            metric == "race",
            tuple((s["source_block"], s["target_block"]) for s in chosen),
        )
        for metric, chosen in chosen_of(pair).items()
        for steps, areas in pair["methods"][metric]["budgets"].items()
        if chosen and not areas
    }
    alone = [int(steps) for steps, known in pair.get("anchors_alone", {}).items() if not known]
    return sorted([*(steps for steps, *_ in missing), *alone])


def at_budget(method: AnyMethodFigures, steps: int, name: BudgetFigure) -> Figure | None:
    """A method's figure after so many steps of joint training; None where it is not known."""
    areas = method["budgets"].get(str(steps))
    return None if areas is None else areas[name]
