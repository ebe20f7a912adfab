"""The trade-off's charts: plain data to Plotly figures. Colours work on light and on dark.

Axes depend on the pair, the tier and the range of cost alone, so nothing moves with τ.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboard.charts.anchors import anchors_trace
from dashboard.charts.methods import STYLES, curve_traces, on_top
from dashboard.charts.theme import ANCHOR, FAINT, LEGEND, MARGIN, line_trace, log_axis
from dashboard.model.tradeoff import Curve, Sheet, heights, steps
from dashboard.text.quantities import QUANTITIES
from klas.results.costs import Costs
from klas.results.pair import number
from klas.selection.buckets import Selection, TauMode, limits
from klas.selection.curves import Envelope
from klas.study import Metric, Tier

HEIGHT = 430
HOVER = "<b>%{customdata[0]} → %{customdata[1]}</b>%{text}<br>%{hovertext}<extra></extra>"


def choice_chart(
    sheet: Sheet,
    picked: Selection,
    metric: Metric,
    *,
    tau: float,
    tau_mode: TauMode,
    bounds: tuple[float, float] | None = None,
    inside: NDArray[np.bool_] | None = None,
) -> go.Figure:
    """Score against MACs, bucket by bucket: what τ lets through, and what it leaves.

    Args:
        bounds: of the axis of MACs, in the shown unit; the buckets' by default.
        inside: (N,) those that may count as chosen; all by default.
    """
    pair, scores = sheet.pair, sheet.pair.scores(metric)
    unit, colour = pair.unit, STYLES[metric].colour
    edges = picked.edges / unit.scale
    shown = pair.in_space & np.isfinite(scores)
    chosen = picked.chosen if inside is None else picked.chosen & inside
    values = scores[shown]
    axis: dict[str, Any] = {"title": {"text": f"{QUANTITIES[metric].label}, lower is better"}}
    bottom, top = 0.0, 1.0
    if values.size and values.min() > 0:
        low, high = np.log10(values.min()), np.log10(values.max())
        pad = 0.08 * max(high - low, 0.2)
        bottom, top = 10 ** (low - pad), 10 ** (high + pad)
        axis |= {**log_axis(values), "range": [low - pad, high + pad]}
    elif values.size:  # an unbiased 1 − CKA may come out below 0, which no logarithm shows
        pad = 0.08 * max(values.max() - values.min(), 1e-9)
        bottom, top = values.min() - pad, values.max() + pad
        axis |= {"range": [bottom, top]}
    limit = limits(picked.lowest, tau, tau_mode)
    bars = [(edges[b], edges[b + 1], limit[b]) for b in np.flatnonzero(np.isfinite(limit))]
    traces: list[dict[str, Any]] = [
        line_trace(
            [x for edge in edges for x in (edge, edge, None)],
            [y for _ in edges for y in (bottom, top, None)],
            {"width": 1, "dash": "dot", "color": FAINT},
        ),
        line_trace(
            [x for left, right, _ in bars for x in (left, right, None)],
            [y for *_, height in bars for y in (height, height, None)],
            {"width": 2, "color": colour},
            opacity=0.55,
        ),
    ]
    marks = _marks(picked, chosen)
    for name, mask, look in (
        ("not chosen", shown & ~chosen, {"color": FAINT, "size": 8}),
        ("chosen", shown & chosen, {"color": colour, "size": 12}),
    ):
        rows = np.flatnonzero(mask)
        traces.append(
            {
                "type": "scatter",
                "x": pair.macs[rows] / unit.scale,
                "y": scores[rows],
                "mode": "markers",
                "name": name,
                "marker": look,
                "customdata": pair.stitches[rows].tolist(),
                "text": marks[rows],
                "hovertext": sheet.facts[rows],
                "hovertemplate": HOVER,
            }
        )
    return go.Figure(
        data=traces,
        layout={
            "margin": MARGIN,
            "height": HEIGHT,
            "xaxis": {
                "title": {"text": unit.title},
                "range": _padded(bounds or (edges[0], edges[-1])),
            },
            "yaxis": axis,
            "legend": LEGEND,
        },
        _validate=False,  # Plotly's own check takes longer than all the rest; tests make it
    )


def tradeoff_chart(
    sheet: Sheet,
    picked: Selection,
    costs: Costs,
    tier: Tier,
    drawn: Sequence[Curve],
    *,
    bounds: tuple[float, float],
    cell: tuple[int, int] | None = None,
) -> go.Figure:
    """Accuracy against cost: each method's stitches and envelope, and the anchors.

    Args:
        bounds: of the cost axis, in its unit.
        cell: the stitch that is ringed.
    """
    pair, unit, metric = sheet.pair, costs.unit, sheet.pair.task.metric
    right = max(*costs.anchors.values(), np.nanmax(costs.stitches, initial=0.0), 0.0) / unit.scale
    traces: list[dict[str, Any]] = []
    marks = _marks(picked, picked.chosen)
    for curve in sorted(drawn, key=lambda c: on_top(c.metric)):
        rows = np.flatnonzero(curve.chosen & np.isfinite(costs.stitches))
        line = steps(costs, pair, curve)
        traces += curve_traces(
            curve.metric,
            costs.stitches[rows] / unit.scale,
            100 * curve.accuracy[rows],
            Envelope(line.costs / unit.scale, 100 * line.accuracies),
            right,
            pair.document["data"]["val"]["samples"],
            # Plain lists: an array comes back from a click as something else than a list.
            customdata=pair.stitches[rows].tolist(),
            text=marks[rows],
            hovertext=sheet.facts[rows],
            # A click rings what it selects; the others stay as they are.
            unselected={"marker": {"opacity": 1}},
            selected={"marker": {"size": 20}},
            hovertemplate=f"{metric.label} <b>%{{y:.2f}} %</b> ({tier})<br>{HOVER}",
        )
    anchors = [a for a in pair.measured_anchors if a["name"] in costs.anchors]
    traces.append(
        anchors_trace(
            [(a["name"], costs.anchors[a["name"]], number(a["accuracy"])) for a in anchors],
            unit,
            metric,
        )
    )
    traces += _ring(pair.stitches, costs, drawn, cell)
    return go.Figure(
        data=traces,
        layout={
            "margin": MARGIN,
            "height": HEIGHT,
            "clickmode": "event+select",
            "xaxis": {"title": {"text": costs.title}, "range": _padded(bounds)},
            "yaxis": {"title": {"text": metric.axis}, "range": list(heights(sheet, tier, drawn))},
            "legend": LEGEND,
        },
        _validate=False,  # Plotly's own check takes longer than all the rest; tests make it
    )


def _marks(picked: Selection, chosen: NDArray[np.bool_]) -> NDArray[np.object_]:
    """What the hover adds of every candidate's place in the choice."""
    places = ["   outside the buckets" if b < 0 else f"   bucket {b}" for b in picked.bucket]
    marks = [f"{p}, chosen" if c else p for p, c in zip(places, chosen)]
    return np.array(marks, dtype=object)


def _ring(
    stitches: NDArray[np.int64], costs: Costs, drawn: Sequence[Curve], cell: tuple[int, int] | None
) -> list[dict[str, Any]]:
    """A ring around a stitch on every curve that has it."""
    if cell is None:
        return []
    rows = np.flatnonzero((stitches == cell).all(axis=1) & np.isfinite(costs.stitches))
    rings = {100 * c.accuracy[row]: row for row in rows for c in drawn if c.chosen[row]}
    if not rings:
        return []
    return [
        {
            "type": "scatter",
            "x": [costs.stitches[row] / costs.unit.scale for row in rings.values()],
            "y": list(rings),
            "mode": "markers",
            "marker": {
                "symbol": "circle-open",
                "size": 20,
                "color": ANCHOR,
                "line": {"width": 2.5, "color": ANCHOR},
            },
            "unselected": {"marker": {"opacity": 1}},
            "showlegend": False,
            "hoverinfo": "skip",
        }
    ]


def _padded(bounds: Sequence[float]) -> list[float]:
    pad = 0.04 * (bounds[1] - bounds[0])
    return [float(bounds[0] - pad), float(bounds[1] + pad)]
