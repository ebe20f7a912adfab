"""Accuracies at a tier, those of a joint training included, and the tier to begin with."""

from collections.abc import Mapping, Sequence

import numpy as np

from dashboard.model.tradeoff import Bits, Floats
from dashboard.session.resources import store, study
from klas.results.accuracies import Racing, finetuned_accuracy
from klas.results.pair import Pair
from klas.results.selections import choose, own_or_fair_share, racing_in
from klas.study import TIERS, SelectionSpec, Tier


def accuracy_at(pair: Pair, chosen: Bits, tier: Tier, racing: Racing = None) -> Floats:
    """(N,) accuracies at a tier; NaN for what was not measured, or not trained.

    Args:
        chosen: (N,) the choice whose joint training counts at ``finetuned``.
        racing: (N,) the buckets in which that raced, if it did.
    """
    if tier != "finetuned":
        return pair.accuracy(tier)
    trained = finetuned_accuracy(store(), pair, chosen, study(), racing)
    return np.full(len(chosen), np.nan) if trained is None else trained


def race_accuracy(pair: Pair, spec: SelectionSpec) -> Floats | None:
    """(N,) accuracies of what the race beside a selection kept, NaN elsewhere; None if not run."""
    picked = choose(pair, spec)
    starts = own_or_fair_share(pair, picked, spec.metric, "race")
    return finetuned_accuracy(store(), pair, starts, study(), racing_in(picked, "race"))


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
    own = [(pair, *_own_choice(pair)) for pair in pairs]
    known: dict[Tier, Floats | None] = {
        tier: np.concatenate([accuracy_at(pair, c, tier, racing) for pair, c, racing in own])
        for tier in TIERS
    }
    return best_tier(known) or TIERS[0]


def _own_choice(pair: Pair) -> tuple[Bits, Racing]:
    """(N,) what the study's own selection chooses, and the buckets in which that races, if so."""
    spec = study().selection
    if not pair.is_scored(spec.metric):
        return np.zeros(len(pair.macs), dtype=bool), None
    selection = choose(pair, spec)
    return selection.chosen, racing_in(selection, spec.metric)
