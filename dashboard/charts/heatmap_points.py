"""The stitches that have a cell of the map: what is marked of them and what the hover says."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.charts.blocks import block_names
from dashboard.model.ranks import best_of_bucket
from dashboard.text.quantities import SCORES, Field, quantity, stitch_values
from klas.results.pair import Pair
from klas.selection.buckets import Selection
from klas.study import Metric
from klas.tasks.metric import AccuracyMetric


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


def hover_template(metric: AccuracyMetric) -> str:
    """Plotly's template of the hover, over what :func:`facts` gives."""
    return (
        "<b>%{customdata[0]} → %{customdata[1]}</b>   %{customdata[2]}<br>"
        "from the source after %{customdata[3]}, into the target before %{customdata[4]}<br>"
        "%{customdata[5]}"
        "Γ = Ω / Σ = %{customdata[6]}<br>"
        "Ω = %{customdata[7]} nats: source probe %{customdata[0]} ‖ target probe "
        "%{customdata[1]}<br>"
        "Σ = %{customdata[8]} nats: what the target's next block adds<br>"
        "%{customdata[9]}, %{customdata[10]} parameters<br>"
        f"{metric.label}: zero_shot %{{customdata[11]}}, tuned %{{customdata[12]}}<extra></extra>"
    )


def facts(
    stitches: Stitches, name: str, jointly: NDArray[np.float64] | None = None
) -> list[tuple[int | str, ...]]:
    """What each stitch's point carries, in the order that :func:`hover_template` has it.

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
        more = _as_text(quantity(name, pair).label + " = {:.4g}<br>", pair.scores(name)[rows])
    if jointly is not None:
        trained = _as_text("{:.1f} %", 100 * jointly[rows])
        label = pair.task.metric.label
        more = [f"{label} after joint training: {accuracy}<br>" for accuracy in trained]
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
        _as_text("{:.4g}", pair.scores("kl")[rows]),
        _as_text("{:.4g}", pair.scores("theta")[rows]),
        _as_text("{:.4g}", sigma),
        _as_text("{:.4g} " + pair.unit.name, pair.macs[rows] / pair.unit.scale),
        _as_text("{:,.0f}", 1e6 * stitch_values(pair, "params")[rows]),
        _as_text("{:.1f} %", 100 * pair.accuracy("zero_shot")[rows]),
        _as_text("{:.1f} %", 100 * pair.accuracy("tuned")[rows]),
    ]
    return list(zip(*columns))


def _as_text(form: str, values: NDArray[Any]) -> list[str]:
    write = form.format
    return ["not measured" if v != v else write(v) for v in values.tolist()]


def _standing(bucket: int, chosen: bool, best: bool) -> str:
    if bucket < 0:
        return "outside the buckets"
    return f"bucket {bucket}" + ", chosen" * chosen + ", its best" * best
