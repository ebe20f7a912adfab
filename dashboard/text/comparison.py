"""What a comparison says of itself in words, on its page and in the report."""

from klas.results.comparison_view import AreaName, samples_of, split_of
from klas.results.documents.comparison import Comparison
from klas.study import Tier

BUDGET_FIGURES: dict[AreaName, str] = {"mean_top1": "Mean top-1", "auc_stitches": "auc_stitches"}
"""What is shown over budgets of joint training, by its name in the form."""


def judged(compared: Comparison, tier: Tier) -> str:
    """What a tier's accuracies were measured on."""
    samples = samples_of(compared, tier)
    if split_of(compared, tier) == "test":
        return f"{samples:,} samples of the test split, which no choice saw"
    return f"{samples:,} validation samples"


def level(compared: Comparison) -> str:
    """How sure the intervals are."""
    return f"{compared['bootstrap']['level']:.0%}".replace("%", " %")


def buckets_of_all(compared: Comparison) -> int:
    """In how many buckets of all pairs methods contend."""
    return sum(pair["buckets"] for pair in compared["pairs"])
