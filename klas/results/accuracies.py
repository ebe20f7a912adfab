"""A pair's accuracies that are not in its scores document: joint training, full validation."""

from collections.abc import Mapping
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from klas.results.keys import Keys
from klas.results.pair import Pair
from klas.results.result import FullValidation, Layers, layers_of
from klas.results.trainings import joint_training
from klas.selection.space import name_of
from klas.storage.store import Store
from klas.study import Study, Tier


def tier_layers(pair: Pair, chosen: NDArray[np.bool_], study: Study, tier: Tier) -> Layers:
    """The result that holds a pair's stitch layers at a tier; at ``finetuned``, the chosen ones'.

    Args:
        chosen: (N,) of the pair's candidates.
    """
    return layers_of(pair.names, tier, tuple(pair.places(chosen)), study.finetuning)


def full_validation(
    pair: Pair, chosen: NDArray[np.bool_], study: Study, tier: Tier
) -> FullValidation:
    """A pair's chosen stitches at a tier, on every validation sample there is.

    Those whose tuning diverged have no layer at ``tuned`` and are left out there.
    """
    source, target = pair.names
    stitches = chosen & ~pair.diverged if tier == "tuned" else chosen
    return FullValidation(
        source=source,
        target=target,
        layers=tier_layers(pair, chosen, study, tier),
        stitches=tuple(pair.places(stitches)),
    )


class FullValAccuracy(TypedDict):
    """Accuracies on every validation sample, by ``"i-j"``, and how many samples these are."""

    tier: Tier
    samples: int
    accuracy: dict[str, float]


def full_val_accuracy(
    store: Store, pair: Pair, chosen: NDArray[np.bool_], study: Study, tier: Tier
) -> FullValAccuracy | None:
    """The accuracies of a pair's chosen stitches on every validation sample.

    None where they were not measured.
    """
    if not chosen.any():
        return None
    key = Keys.of_document(pair.document, study).of(full_validation(pair, chosen, study, tier))
    measured = store.get(key)
    return None if measured is None else cast(FullValAccuracy, {"tier": tier, **measured})


def finetuned_accuracy(
    store: Store, pair: Pair, chosen: NDArray[np.bool_], study: Study
) -> NDArray[np.float64] | None:
    """(N,) of the chosen stitches after joint training, NaN elsewhere; None if that was not run."""
    if not chosen.any():
        return None
    training = joint_training(pair, chosen, study.finetuning)
    result = store.get(Keys.of_document(pair.document, study).of(training))
    return None if result is None else by_row(pair, chosen, result["accuracy"])


def by_row(
    pair: Pair, chosen: NDArray[np.bool_], accuracy: Mapping[str, float]
) -> NDArray[np.float64]:
    """(N,) the accuracies of the chosen stitches, which are stored by ``"i-j"``; NaN elsewhere."""
    by_candidate = np.full(len(chosen), np.nan)
    by_candidate[chosen] = [accuracy[name_of(place)] for place in pair.places(chosen)]
    return by_candidate
