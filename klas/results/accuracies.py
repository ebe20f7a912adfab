"""A pair's accuracies that are not in its scores document: joint training, full validation."""

from collections.abc import Mapping
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from klas.results.keys import Keys
from klas.results.pair import Pair
from klas.results.race_note import Rung, race_note
from klas.results.result import Continuations, FullValidation, Layers, layers_at
from klas.results.trainings import joint_training
from klas.selection.race import RUNGS, survivors
from klas.selection.space import name_of
from klas.storage.store import Store
from klas.study import Study, Tier

Racing = NDArray[np.int64] | None
"""(N,) the buckets in which the chosen race (:func:`klas.results.selections.racing_in`)."""


def tier_layers(
    pair: Pair, chosen: NDArray[np.bool_], study: Study, tier: Tier, racing: Racing = None
) -> Layers:
    """The result that holds a pair's stitch layers at a tier; at ``finetuned``, the chosen ones'.

    Args:
        chosen: (N,) of the pair's candidates.
    """
    if tier == "finetuned":
        return joint_training(pair, chosen, study.finetuning, racing).weights
    return layers_at(pair.names, tier, study.finetuning)


def full_validation(
    pair: Pair, chosen: NDArray[np.bool_], study: Study, tier: Tier, racing: Racing = None
) -> FullValidation:
    """A pair's chosen stitches at a tier, on every validation sample there is.

    Those whose tuning diverged have no layer at ``tuned`` and are left out there; what dropped out
    of a race is left out too.
    """
    source, target = pair.names
    stitches = chosen & ~pair.diverged if tier == "tuned" else chosen
    return FullValidation(
        source=source,
        target=target,
        layers=tier_layers(pair, chosen, study, tier, racing),
        stitches=tuple(pair.places(stitches)),
    )


def continuations(
    pair: Pair, chosen: NDArray[np.bool_], study: Study, tier: Tier, racing: Racing = None
) -> Continuations:
    """What a pair's chosen stitches at a tier make of prompts; those that diverged are left out."""
    source, target = pair.names
    stitches = chosen & ~pair.diverged if tier == "tuned" else chosen
    return Continuations(
        source=source,
        target=target,
        layers=tier_layers(pair, chosen, study, tier, racing),
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
    store: Store, pair: Pair, chosen: NDArray[np.bool_], study: Study, racing: Racing = None
) -> NDArray[np.float64] | None:
    """(N,) of the chosen stitches after joint training, NaN elsewhere; None if that was not run.

    What dropped out of a race has none.
    """
    if not chosen.any():
        return None
    training = joint_training(pair, chosen, study.finetuning, racing)
    result = store.get(Keys.of_document(pair.document, study).of(training))
    return None if result is None else by_row(pair, result["accuracy"])


class Raced(TypedDict):
    """A race, or as much as is over of it.

    rungs: what each measured on some validation samples; left: who did not drop out, by ``"i-j"``;
    accuracy: of these on all samples at the end, None while it goes on; steps: of the whole
    training.
    """

    rungs: list[Rung]
    left: list[str]
    accuracy: dict[str, float] | None
    steps: int


def raced(
    store: Store, pair: Pair, chosen: NDArray[np.bool_], study: Study, racing: NDArray[np.int64]
) -> Raced | None:
    """A pair's race; None where it has not come to its first rung.

    Args:
        chosen: (N,) who starts.
        racing: (N,) the buckets.
    """
    if not chosen.any():
        return None
    training = joint_training(pair, chosen, study.finetuning, racing)
    key = Keys.of_document(pair.document, study).of(training)
    result, steps = store.get(key), study.finetuning.steps
    if result is not None:
        accuracy = result["accuracy"]
        return Raced(rungs=result["rungs"], left=[*accuracy], accuracy=accuracy, steps=steps)
    rungs = race_note(store, key).rungs()
    if not rungs:
        return None
    measured, kept = by_row(pair, rungs[-1]["accuracy"]), RUNGS[: len(rungs)][-1].kept
    on = survivors(measured, pair.macs, racing, np.isfinite(measured), kept)
    left = [name_of(place) for place in pair.places(on)]
    return Raced(rungs=rungs, left=left, accuracy=None, steps=steps)


def by_row(pair: Pair, accuracy: Mapping[str, float]) -> NDArray[np.float64]:
    """(N,) accuracies that are stored by ``"i-j"``; NaN elsewhere."""
    return np.array([accuracy.get(name_of(place), np.nan) for place in pair.everywhere])
