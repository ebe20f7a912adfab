"""The map of a pair: a quantity over source cut × target cut, as a Plotly figure.

Beside it, in line with its rows and columns, what a linear probe reads at each cut.
"""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboard.charts.blocks import block_names, block_ticks, probe_axis, probe_strips
from dashboard.charts.heatmap_labels import numbers_trace
from dashboard.charts.heatmap_points import Stitches, facts, hover_template, stitches_of
from dashboard.charts.theme import ANCHOR, SNNET, log_ticks
from dashboard.text.quantities import Field, field, quantity
from klas.results.pair import Pair
from klas.selection.buckets import Selection
from klas.selection.space import Place
from klas.study import Metric

FRAME = "#e63946"  # stands out on every colour of the map
COLOURS = "Viridis"  # its high end is the bright one
DARK_INK, LIGHT_INK = "#222", "white"
HOVER_PAPER = "#f4f1e8"
DECADE = 10.0  # values that span more than this get logarithmic colours
LINEAR = ("cka",)  # may come out below 0; its colours should not change their kind with that
STRIP, GAP, TOP, BOTTOM = 44, 8, 40, 62  # pixels
Trace = dict[str, Any]


def cell_map(
    pair: Pair,
    selection: Selection,
    metric: Metric,
    name: str,
    cell: Place | None = None,
    jointly: NDArray[np.float64] | None = None,
    *,
    buckets: bool = False,
) -> go.Figure:
    """A quantity over the cells, its values printed where they fit, the chosen and the best.

    Args:
        selection: what ``metric`` chooses of the pair.
        name: which of :data:`dashboard.text.quantities.QUANTITIES` is shown; it is computed.
        cell: the stitch that is ringed at first; a click rings another.
        jointly: (N,) accuracies after joint training, NaN where there are none; for ``finetuned``.
        buckets: print the number of every stitch's bucket in place of the values.
    """
    shown = field(pair, name, jointly)
    assert shown is not None, f"{name} is not computed"
    finite = np.where(np.isfinite(shown.values), shown.values, np.nan)
    log = _spans_decades(name, shown)
    z = np.log10(finite) if log else finite
    what = quantity(name, pair)
    inks = _inks(z, what.brightest)
    ys = shown.rows or (0,)
    height = int(np.clip(480 // len(ys), 18, 46))  # of a row, in pixels
    size = STRIP + GAP + height * len(ys)
    share = height * len(ys) / size  # the map's, of the height
    ticks = log_ticks(shown.known)
    logarithmic = {"tickvals": np.log10(ticks), "ticktext": [f"{t:g}" for t in ticks]}
    cells = {
        "type": "heatmap",
        "x": shown.columns,
        "y": ys,
        "z": z,
        "colorscale": COLOURS,
        "reversescale": what.brightest == "lowest",
        "showscale": len(shown.rows) > 2,  # too low for a scale otherwise
        "colorbar": {
            "title": {"text": what.label, "side": "top" if len(what.label) < 10 else "right"},
            "thickness": 12,
            "len": share,
            "y": 0,
            "yanchor": "bottom",
            "x": 1.0,
            **(logarithmic if log else {}),
        },
        "xgap": 2 if height > 24 else 1,
        "ygap": 2 if height > 24 else 1,
        "hoverinfo": "skip",
    }
    stitches = stitches_of(pair, selection, metric, shown, inks)
    probes = probe_strips(pair, shown.columns, shown.rows)
    layout = {
        "margin": {"l": 10, "r": 10, "t": TOP, "b": BOTTOM},
        "height": size + TOP + BOTTOM,
        "dragmode": False,
        "hovermode": "closest",
        "hoverdistance": -1,  # a cell belongs to its point up to its edges
        "hoverlabel": {"bgcolor": HOVER_PAPER, "font": {"color": DARK_INK}},
        "bargap": 0.25,
        "legend": {
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "itemdoubleclick": False,
        },
        "xaxis": {
            "title": {"text": _axis_title(shown, "target"), "standoff": 8},
            "domain": [0, 0.88],
            "range": [shown.columns[0] - 0.5, shown.columns[-1] + 0.5],
            **block_ticks(shown.columns, pair.target, "x"),
        },
        "yaxis": {
            "title": {"text": _axis_title(shown, "source"), "standoff": 8},
            "domain": [0, share],
            "range": [ys[-1] + 0.5, ys[0] - 0.5],
            **block_ticks(shown.rows, pair.source, "y"),
        },
        "xaxis2": {"domain": [0.89, 0.985], "anchor": "y", **probe_axis(probes)},
        "yaxis2": {"domain": [1 - STRIP / size, 1], "anchor": "x", **probe_axis(probes)},
        "annotations": [_strips_title(pair, 1 - STRIP / size)] if probes else [],
    }
    traces = [
        cells,
        _squares(
            stitches, facts(stitches, name, jointly), cell, round(0.62 * height)
        ),  # inside a frame
        _no_stitches(pair, shown, stitches, what.label),
        numbers_trace(shown, stitches, inks, height, buckets=buckets),
        *_marks(stitches, small=height < 24),
        *probes,
    ]
    # Plotly's own check of every number takes ten times as long as all the rest; tests make it.
    return go.Figure(data=traces, layout=layout, _validate=False)


def _spans_decades(name: str, shown: Field) -> bool:
    known = shown.known
    return bool(known.size) and name not in LINEAR and 0 < DECADE * known.min() < known.max()


def _inks(z: NDArray[np.float64], brightest: str) -> NDArray[np.str_]:
    """(R, C) dark where the colour is bright; where there is none the page shows, dark or light."""
    if not np.isfinite(z).any():
        return np.full(z.shape, ANCHOR)
    low = z < (np.nanmin(z) + np.nanmax(z)) / 2
    inks = np.where(low == (brightest == "lowest"), DARK_INK, LIGHT_INK)
    return np.where(np.isnan(z), ANCHOR, inks)


def _squares(
    stitches: Stitches, carried: list[tuple[int | str, ...]], cell: Place | None, size: int
) -> Trace:
    """Invisible squares that carry the hover and the click.

    A heatmap's own cells take no clicks in Streamlit. Plotly itself marks the square that is
    selected, so a click draws nothing again.
    """
    ringed = None
    if cell is not None:
        ringed = np.flatnonzero((stitches.i == cell[0]) & (stitches.j == cell[1]))
    return {
        "type": "scatter",
        "x": stitches.j,
        "y": stitches.i,
        "mode": "markers",
        "marker": {
            "symbol": "square-open",
            "size": size,
            "color": stitches.ink,
            "line": {"width": 3 if size > 20 else 2},
            "opacity": 0,
        },
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 0}},
        "selectedpoints": ringed,
        "customdata": carried,
        "hovertemplate": hover_template(stitches.pair.task.metric),
        "showlegend": False,
    }


def _no_stitches(pair: Pair, shown: Field, stitches: Stitches, label: str) -> Trace:
    """Invisible squares for the cells that have no stitch.

    A click on one closes the open stitch.
    """
    free = np.ones(shown.values.shape, dtype=bool)
    free[np.searchsorted(shown.rows, stitches.i), np.searchsorted(shown.columns, stitches.j)] = 0
    row, column = np.nonzero(free)
    sources, targets = block_names(pair.source), block_names(pair.target)
    texts = []
    for r, c in zip(row.tolist(), column.tolist()):
        j = shown.columns[c]
        value = f"<br>{label}: {shown.values[r, c]:.4g}"
        if shown.rows:
            i = shown.rows[r]
            cuts = f"source after {sources[i]} ({i}), target after {targets[j]} ({j})"
            texts.append(f"{cuts}{value}<br>no candidate")
        else:
            texts.append(f"target from cut {j}, {targets[j]}, to {targets[j + 1]}{value}")
    return {
        "type": "scatter",
        "x": np.array(shown.columns)[column],
        "y": np.array(shown.rows or (0,))[row],
        "mode": "markers",
        "marker": {"symbol": "square", "opacity": 0},
        "selected": {"marker": {"opacity": 0}},
        "unselected": {"marker": {"opacity": 0}},
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": False,
    }


def _marks(stitches: Stitches, *, small: bool) -> list[Trace]:
    """The chosen framed, a dot at the best of every bucket, and SN-Net's set for the asking.

    Their places are in cells, not in pixels, so that they fit cells of any shape.
    """
    if not stitches.rows.size:
        return []
    i, j = stitches.i[stitches.chosen], stitches.j[stitches.chosen]
    nothing = np.full(len(i), np.nan)  # parts one frame from the next
    left, right, top, bottom = j - 0.47, j + 0.47, i - 0.45, i + 0.45
    frames = {
        "type": "scatter",
        "x": np.column_stack([left, right, right, left, left, nothing]).ravel(),
        "y": np.column_stack([top, top, bottom, bottom, top, nothing]).ravel(),
        "mode": "lines",
        "line": {"color": FRAME, "width": 2 if small else 3},
        "name": "chosen",
        "hoverinfo": "skip",
        "showlegend": True,
    }
    corner = {"showlegend": True, "hoverinfo": "skip", "type": "scatter", "mode": "markers"}
    seen = {"unselected": {"marker": {"opacity": 1}}}
    dot = {"size": 6 if small else 8, "line": {"color": "white", "width": 1}}
    best = {
        **corner,
        **seen,
        "x": stitches.j[stitches.best] + 0.34,
        "y": stitches.i[stitches.best] - 0.28,
        "marker": {"color": FRAME, **dot},
        "name": "best of its bucket",
    }
    snnet = {
        **corner,
        **seen,
        "x": stitches.j[stitches.snnet] - 0.34,
        "y": stitches.i[stitches.snnet] - 0.28,
        "marker": {"color": SNNET, "symbol": "diamond", **dot},
        "name": "SN-Net's set (click to show)",
        "visible": "legendonly",
    }
    return [frames, best, snnet]


def _strips_title(pair: Pair, bottom: float) -> dict[str, Any]:
    """What the strips show, in the corner between them."""
    return {
        "text": f"probe<br>{pair.task.metric.label}",
        "xref": "paper",
        "yref": "paper",
        "x": 0.895,
        "y": bottom,
        "xanchor": "left",
        "yanchor": "bottom",
        "align": "left",
        "font": {"size": 11},
        "showarrow": False,
    }


def _axis_title(shown: Field, side: str) -> str:
    if not shown.rows:
        return "target cut j (Σ is of the block that follows)" if side == "target" else ""
    if 0 in shown.rows:
        return f"{side} cut"
    return "target block j (continues with j + 1)" if side == "target" else "source block i"
