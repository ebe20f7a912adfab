"""What a comparison says of itself, on its page and in the report."""

from dashboard.model.training_budgets import BudgetFigure
from klas.results.comparison_view import samples_of, split_of
from klas.results.documents.comparison import Comparison
from klas.study import Tier
from klas.tasks.task import task_named


def judged(comparison: Comparison, tier: Tier) -> str:
    """What a tier's accuracies were measured on."""
    samples = samples_of(comparison, tier)
    if split_of(comparison, tier) == "test":
        return f"{samples:,} samples of the test split, which no choice saw"
    return f"{samples:,} validation samples"


def level(comparison: Comparison) -> str:
    """How sure the intervals are."""
    return f"{comparison['bootstrap']['level']:.0%}".replace("%", " %")


def buckets_of_all(comparison: Comparison) -> int:
    """In how many buckets of all pairs methods contend."""
    return sum(pair["buckets"] for pair in comparison["pairs"])


def budget_figure_names(comparison: Comparison) -> dict[BudgetFigure, str]:
    """What can be shown over budgets of joint training, with what people call it."""
    metric = task_named(comparison["task"]).metric
    return {"mean_top1": f"Mean {metric.label}", "auc_stitches": "auc_stitches"}
