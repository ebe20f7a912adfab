"""Read back from the store what a pair's scores are made of. No torch here."""

from collections.abc import Callable
from typing import Any

import numpy as np

from klas.results.result import Cka, Fit, Result, Theta
from klas.selection.bootstrap import block_of
from klas.selection.scores import ScoreSums


def read_score_sums(
    get: Callable[[Result], Any], samples: int, source: str, target: str
) -> ScoreSums | None:
    """The sums behind a pair's scores; None before they are computed.

    Args:
        get: a stored result, or None.
        samples: how many validation samples there are.
    """
    results: tuple[Result, ...] = (
        Theta(source=source, target=target),
        Theta(source=target, target=target),
        Cka(source=source, target=target),
        Fit(source=source, target=target),
    )
    across, within, cka, fit = map(get, results)
    if across is None or within is None or cka is None or fit is None:
        return None
    return ScoreSums(
        samples=np.bincount(block_of(samples)).astype(np.float64),
        kl=across["kl"],
        target_kl=within["kl"],
        squares=across["squares"],
        entropy=across["entropy"],
        hsic=cka["cross"],
        source_hsic=cka["own_first"],
        target_hsic=cka["own_second"],
        residual=fit["residuals"],
        spread=fit["spread"],
    )
