"""What a comparison says of itself, on its page and in the report."""

from collections.abc import Sequence

from dashboard.model.training_budgets import BudgetFigure
from klas.results.comparison_view import below_cheap_anchor, samples_of, split_of
from klas.results.documents.comparison import ComparedPair, Comparison
from klas.study import SelectionSpec, Tier
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


def rules(comparison: Comparison, spec: SelectionSpec, tier: Tier) -> str:
    """What is compared, and how sure the figures are, in Markdown.

    Args:
        spec: what KLAS chooses by.
        tier: whose curves are shown.
    """
    return (
        f"KLAS chooses with τ = {spec.tau:g} ({spec.tau_mode}) in {spec.buckets} buckets of equal "
        f"{spec.binning}; change this on **Stitches**. Every other score takes as many candidates "
        "in each bucket as KLAS took there; SN-Net's set is compared as it is, and of a race what "
        "it kept of each bucket. The best stitch is the one with the highest accuracy at tier "
        f"tuned. Curves and their areas: tier {tier}, {judged(comparison, tier)}. Intervals are "
        f"{level(comparison)}: a bootstrap over 100 blocks of samples."
    )


def why_alike(comparison: Comparison, pairs: Sequence[ComparedPair], tier: Tier) -> str | None:
    """Why so many figures are alike, in Markdown; None where a stitch reaches the cheap anchor."""
    reason = below_cheap_anchor(comparison, pairs, tier)
    if reason is None:
        return None
    label = task_named(comparison["task"]).metric.label
    more = "" if tier == "finetuned" else ", and so does joint training below"
    return f"{reason} **auc_stitches** and **mean {label}** still separate methods{more}."
