"""Accuracies at a tier, those of a joint training included, and the tier to begin with."""

from collections.abc import Mapping, Sequence

import numpy as np

from dashboard.model.exports import Training
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


def race_at_hand(pair: Pair, spec: SelectionSpec) -> Training | None:
    """The race beside a selection; None if it was not run."""
    picked = choose(pair, spec)
    starts = own_or_fair_share(pair, picked, spec.metric, "race")
    return training_at_hand(pair, starts, racing_in(picked, "race"))


def training_at_hand(pair: Pair, chosen: Bits, racing: Racing = None) -> Training | None:
    """The joint training of a choice; None if it was not run.

    Args:
        racing: (N,) the buckets in which that raced, if it did.
    """
    accuracy = finetuned_accuracy(store(), pair, chosen, study(), racing)
    if accuracy is None:
        return None
    own, raced = _own_choice(pair)
    alike = (racing is None) == (raced is None) and np.array_equal(chosen, own)
    if racing is not None and raced is not None:
        alike = alike and np.array_equal(racing[chosen], raced[own])
    return Training(chosen=chosen, racing=racing, accuracy=accuracy, own=alike)


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
