"""The stitches that have a cell of the map: what is marked of them and what the hover says."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.charts.probe_strips import block_names
from dashboard.text.quantities import SCORES, Field, of_stitches, quantity
from klas.results.pair import Pair
from klas.selection.buckets import Selection
from klas.study import Metric


@dataclass(frozen=True, kw_only=True)
class Stitches:
    """Arrays have a row for each of M stitches, (M,)."""

    pair: Pair
    rows: NDArray[np.int64]  # in the pair's arrays
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    ink: list[str]  # what can be read on its colour
    bucket: NDArray[np.int64]
    chosen: NDArray[np.bool_]
    best: NDArray[np.bool_]  # the lowest of its bucket, by the score that chooses
    snnet: NDArray[np.bool_]


def stitches_of(
    pair: Pair, selection: Selection, metric: Metric, shown: Field, inks: NDArray[np.str_]
) -> Stitches:
    """The candidates in the space whose cells a field has.

    Args:
        selection: what ``metric`` chooses of the pair.
        inks: (R, C) what can be read on each cell's colour.
    """
    i, j = pair.stitches.T
    has_cell = pair.in_space & np.isin(i, shown.rows) & np.isin(j, shown.columns)
    i, j = i[has_cell], j[has_cell]
    place = np.searchsorted(shown.rows, i), np.searchsorted(shown.columns, j)
    return Stitches(
        pair=pair,
        rows=np.flatnonzero(has_cell),
        i=i,
        j=j,
        ink=inks[place].tolist(),
        bucket=selection.bucket[has_cell],
        chosen=selection.chosen[has_cell],
        best=best_of_bucket(selection, pair.scores(metric))[has_cell],
        snnet=pair.snnet[has_cell],
    )


def best_of_bucket(selection: Selection, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) whether a score is finite and the lowest of its bucket; equals share the place."""
    lowest = np.where(selection.bucket >= 0, selection.lowest[selection.bucket], np.nan)
    best: NDArray[np.bool_] = np.isfinite(scores) & (scores == lowest)
    return best


HOVER = (
    "<b>%{customdata[0]} → %{customdata[1]}</b>   %{customdata[2]}<br>"
    "from the source after %{customdata[3]}, into the target before %{customdata[4]}<br>"
    "%{customdata[5]}"
    "Γ = Ω / Σ = %{customdata[6]}<br>"
    "Ω = %{customdata[7]} nats: source probe %{customdata[0]} ‖ target probe %{customdata[1]}<br>"
    "Σ = %{customdata[8]} nats: what the target's next block adds<br>"
    "%{customdata[9]}, %{customdata[10]} parameters<br>"
    "top-1: zero_shot %{customdata[11]}, tuned %{customdata[12]}<extra></extra>"
)
"""Plotly's template of the hover, over what :func:`facts` gives."""


def facts(
    stitches: Stitches, name: str, jointly: NDArray[np.float64] | None = None
) -> list[tuple[int | str, ...]]:
    """What each stitch's point carries, in the order that :data:`HOVER` has it.

    First come i and j as numbers, for a click opens them; the rest is text.

    Args:
        jointly: (N,) of the pair's candidates: accuracies after joint training, where the map
            shows these.
    """
    pair, rows = stitches.pair, stitches.rows
    if not rows.size:
        return []
    more = [""] * len(rows)
    if name in SCORES and name not in ("kl", "theta"):
        more = _texted(quantity(name, pair).label + " = {:.4g}<br>", pair.scores(name)[rows])
    if jointly is not None:
        trained = _texted("{:.1f} %", 100 * jointly[rows])
        more = [f"top-1 after joint training: {top1}<br>" for top1 in trained]
    sigma = np.array(pair.raw["theta_target"], dtype=np.float64)[stitches.j, stitches.j + 1]
    sources, targets = block_names(pair.source), block_names(pair.target)
    marks = zip(stitches.bucket.tolist(), stitches.chosen.tolist(), stitches.best.tolist())
    columns = [
        stitches.i.tolist(),
        stitches.j.tolist(),
        [_standing(*mark) for mark in marks],
        [sources[i] for i in stitches.i],
        [targets[j + 1] for j in stitches.j],
        more,
        _texted("{:.4g}", pair.scores("kl")[rows]),
        _texted("{:.4g}", pair.scores("theta")[rows]),
        _texted("{:.4g}", sigma),
        _texted("{:.4g} " + pair.unit.name, pair.macs[rows] / pair.unit.scale),
        _texted("{:,.0f}", 1e6 * of_stitches(pair, "params")[rows]),
        _texted("{:.1f} %", 100 * pair.accuracy("zero_shot")[rows]),
        _texted("{:.1f} %", 100 * pair.accuracy("tuned")[rows]),
    ]
    return list(zip(*columns))


def _texted(form: str, values: NDArray[Any]) -> list[str]:
    write = form.format
    return ["not measured" if v != v else write(v) for v in values.tolist()]


def _standing(bucket: int, chosen: bool, best: bool) -> str:
    if bucket < 0:
        return "outside the buckets"
    return f"bucket {bucket}" + ", chosen" * chosen + ", its best" * best
