"""What a comparison says of itself in words, on its page and in the report."""

from klas.results.comparison_view import Comparison, split_of
from klas.study import Tier

BUDGET_FIGURES = {"mean_top1": "Mean top-1", "auc_stitches": "auc_stitches"}
"""What is shown over budgets of joint training, by its name in the form."""


def judged(compared: Comparison, tier: Tier) -> str:
    """What a tier's accuracies were measured on."""
    split = split_of(compared, tier)
    samples = compared["data"][split]["samples"]
    if split == "test":
        return f"{samples:,} samples of the test split, which no choice saw"
    return f"{samples:,} validation samples"


def level(compared: Comparison) -> str:
    """How sure the intervals are."""
    return f"{compared['bootstrap']['level']:.0%}".replace("%", " %")


def buckets_of_all(compared: Comparison) -> int:
    """In how many buckets of all pairs methods contend."""
    return sum(pair["buckets"] for pair in compared["pairs"])
