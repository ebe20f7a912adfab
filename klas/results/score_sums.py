"""Read back from the store what scores and comparisons are made of. No torch here."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from klas.results import keys
from klas.selection.bootstrap import block_of
from klas.selection.scores import ScoreSums
from klas.storage.store import Arrays, Store
from klas.study import Study

Plain = Mapping[str, Any]


def read_score_sums(
    store: Store,
    study: Study,
    data: Plain,
    precision: str,
    pair: tuple[Plain, Plain],
    stitches: Iterable[tuple[int, int]],
) -> ScoreSums | None:
    """The sums behind a pair's scores; None before they are computed.

    Args:
        data: ``train`` and ``val``, as a scores document describes them.
        pair: the entries of source and target there.
        stitches: (i, j) of every candidate, in order.
    """
    source, target = pair
    train, val = data["train"], data["val"]
    probes, fit = study.probes.model_dump(mode="json"), study.fit.model_dump(mode="json")
    wanted = [
        keys.theta_key(source, target, train, val, probes, precision),
        keys.theta_key(target, target, train, val, probes, precision),
        keys.cka_key(source, target, val, probes["pool"], precision),
        keys.fit_key(source, target, stitches, train, val, fit, precision),
    ]
    found: list[Arrays | None] = [store.get(key) for key in wanted]
    across, within, cka, matching = found
    if across is None or within is None or cka is None or matching is None:
        return None
    return ScoreSums(
        samples=np.bincount(block_of(val["samples"])).astype(np.float64),
        kl=across["kl"],
        target_kl=within["kl"],
        squares=across["squares"],
        entropy=across["entropy"],
        hsic=cka["cross"],
        source_hsic=cka["own_first"],
        target_hsic=cka["own_second"],
        residual=matching["residuals"],
        spread=matching["spread"],
    )
