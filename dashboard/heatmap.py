"""The map of a score over source block × target block, as a Plotly figure."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboard.figures import _HOVER, MARGIN, SCORE_NAMES, _facts, log_ticks
from klas.choice.buckets import Selection
from klas.results import Pair

FRAME = "#e63946"  # stands out on every colour of the map
CELL_COLOURS = "Viridis_r"  # the best, the lowest score, is the brightest
HOVER_PAPER = "#f4f1e8"
DECADE = 10.0  # scores that span more than this get logarithmic colours


def score_heatmap(
    pair: Pair, selection: Selection, metric: str = "kl", cell: tuple[int, int] | None = None
) -> go.Figure:
    """A score over source block × target block, with every cell's bucket and the chosen marked.

    Args:
        metric: which score; its colours are logarithmic where its values ask for it.
        cell: the stitch that is ringed at first; a click rings another.
    """
    rows = np.flatnonzero(pair.in_space)
    i, j = pair.stitches[rows].T
    scores = pair.scores(metric)[rows]
    finite = scores[np.isfinite(scores)]
    log = metric != "cka" and bool(finite.size) and 0 < DECADE * finite.min() < finite.max()
    shown = np.where(np.isfinite(scores), scores, np.nan)
    shown = np.log10(shown) if log else shown
    grid, order = _grid(i, j, shown)
    ticks = log_ticks(finite)
    scale = {"tickvals": np.log10(ticks), "ticktext": [f"{t:g}" for t in ticks]} if log else {}
    figure = go.Figure(
        go.Heatmap(
            x=order[1],
            y=order[0],
            z=grid,
            colorscale=CELL_COLOURS,
            colorbar={
                "title": {"text": SCORE_NAMES[metric], "side": "top"},
                "thickness": 14,
                **scale,
            },
            xgap=2,
            ygap=2,
            hoverinfo="skip",
        )
    )
    middle = (np.nanmin(shown) + np.nanmax(shown)) / 2 if finite.size else 0.0
    ink = ["#222" if v < middle else "white" for v in shown]
    # Invisible squares carry the hover and the click: a heatmap's own cells take no clicks in
    # Streamlit. Plotly itself shows the one that is selected, so a click draws nothing anew.
    facts = _facts(pair, selection, rows)
    other = [] if metric == "kl" else [f"{SCORE_NAMES[metric]} = {score:.4g}" for score in scores]
    figure.add_scatter(
        x=j,
        y=i,
        mode="markers",
        marker={
            "symbol": "square-open",
            "size": 42,
            "color": ink,
            "line": {"width": 4},
            "opacity": 0,
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 0}},
        selectedpoints=None if cell is None else np.flatnonzero((i == cell[0]) & (j == cell[1])),
        customdata=[[*fact, *line] for fact, line in zip(facts, zip(other))] if other else facts,
        hovertemplate=("%{customdata[11]}<br>" if other else "") + _HOVER,
        hoverlabel={"bgcolor": HOVER_PAPER, "font": {"color": "#222"}},
        showlegend=False,
    )
    labels = ["–" if b < 0 else str(b) for b in selection.bucket[rows]]
    figure.add_scatter(
        x=j,
        y=i,
        mode="text",
        text=[f"<b>{t}</b>" if c else t for t, c in zip(labels, selection.chosen[rows])],
        textfont={"color": ink, "size": 11},
        # Told how a selected text looks, Plotly leaves the others as they are.
        selected={"textfont": {"color": FRAME}},
        hoverinfo="skip",
        showlegend=False,
    )
    picked = selection.chosen[rows]
    figure.add_scatter(
        x=j[picked],
        y=i[picked],
        mode="markers",
        name="chosen",
        marker={
            "symbol": "square-open",
            "size": 34,
            "color": FRAME,
            "line": {"width": 3, "color": FRAME},
        },
        unselected={"marker": {"opacity": 1}},
        hoverinfo="skip",
    )
    figure.update_layout(
        margin=MARGIN,
        height=150 + 46 * len(order[0]),
        dragmode=False,
        xaxis={"title": "target block j (the target goes on with j + 1)", "dtick": 1},
        yaxis={"title": "source block i", "dtick": 1, "autorange": "reversed"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def _grid(
    i: NDArray[np.int64], j: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[list[int], list[int]]]:
    rows, columns = sorted(set(i.tolist())), sorted(set(j.tolist()))
    grid = np.full((len(rows), len(columns)), np.nan)
    for a, b, value in zip(i, j, values):
        grid[rows.index(a), columns.index(b)] = value
    return grid, (rows, columns)
