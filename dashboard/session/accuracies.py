"""Accuracies at a tier, those of a joint training included, and the tier to begin with."""

from collections.abc import Mapping, Sequence

import numpy as np

from dashboard.model.tradeoff import Bits, Floats
from dashboard.session.resources import store, study
from klas.results.accuracies import finetuned_accuracy
from klas.results.pair import Pair
from klas.results.selections import choose
from klas.study import TIERS, Tier


def accuracy_at(pair: Pair, chosen: Bits, tier: Tier) -> Floats:
    """(N,) accuracies at a tier; NaN for what was not measured, or not trained.

    Args:
        chosen: (N,) the choice whose joint training counts at ``finetuned``.
    """
    if tier != "finetuned":
        return pair.accuracy(tier)
    trained = finetuned_accuracy(store(), pair, chosen, study())
    return np.full(len(chosen), np.nan) if trained is None else trained


def best_tier(accuracies: Mapping[Tier, Floats | None]) -> Tier | None:
    """The last of the tiers at which anything is measured."""
    known = [
        tier
        for tier in TIERS
        if (values := accuracies[tier]) is not None and np.isfinite(values).any()
    ]
    return known[-1] if known else None


def first_tier(pairs: Sequence[Pair]) -> Tier:
    """The best tier at which anything of the study's own selection is measured.

    No control changes it: what τ lets through may not be trained jointly, and then the tier
    would change by itself.
    """
    own = study().selection
    chosen = [
        choose(p, own).chosen if p.is_scored(own.metric) else np.zeros(len(p.macs), bool)
        for p in pairs
    ]
    known: dict[Tier, Floats | None] = {
        tier: np.concatenate([accuracy_at(p, c, tier) for p, c in zip(pairs, chosen)])
        for tier in TIERS
    }
    return best_tier(known) or TIERS[0]
