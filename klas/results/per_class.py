"""How networks for segmentation do on each class, and pictures of what they predict. No torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.results.keys import Keys
from klas.results.pair import Pair
from klas.results.result import (
    OUTCOMES,
    FinetunedWeights,
    Layers,
    Pictures,
    Result,
    Validation,
    outcomes_of,
)
from klas.selection.space import Place, name_of
from klas.storage.store import Store
from klas.study import Study
from klas.tasks.metric import class_iou

Floats = NDArray[np.float64]


def anchor_class_iou(store: Store, pair: Pair, study: Study, name: str) -> Floats | None:
    """(K,) of an anchor on the validation images; None where it has no head, or was not measured.

    NaN for a class that is neither there nor predicted.
    """
    stored = _stored(store, pair, study, Validation(anchor=name))
    return None if stored is None or "outcomes" not in stored else class_iou(stored["outcomes"])


def stitch_class_iou(
    store: Store, pair: Pair, study: Study, layers: Layers, place: Place
) -> Floats | None:
    """(K,) of a stitch at a tier, on the validation images; None where it was not measured."""
    jointly = isinstance(layers, FinetunedWeights)
    result: Result = outcomes_of(layers, "val") if isinstance(layers, FinetunedWeights) else layers
    stored = _stored(store, pair, study, result)
    name = name_of(place) if jointly else f"{name_of(place)}.{OUTCOMES}"
    return None if stored is None or name not in stored else class_iou(stored[name])


def pictures(pair: Pair, layers: Layers, place: Place) -> Pictures:
    """The pictures of a stitch at a tier."""
    source, target = pair.names
    return Pictures(source=source, target=target, layers=layers, place=place)


def stored_pictures(
    store: Store, pair: Pair, study: Study, layers: Layers, place: Place
) -> Mapping[str, NDArray[np.uint8]] | None:
    """``image`` (n, H, W, C), and maps (n, H, W); None before they are made."""
    arrays: Mapping[str, NDArray[np.uint8]] | None
    arrays = _stored(store, pair, study, pictures(pair, layers, place))
    return arrays


def _stored(store: Store, pair: Pair, study: Study, result: Result) -> Any:
    return store.get(Keys.of_document(pair.document, study).of(result))
