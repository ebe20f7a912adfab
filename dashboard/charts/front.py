"""The front over all pairs as a Plotly figure."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.anchors import anchors_trace
from dashboard.charts.theme import (
    ANCHOR,
    LEGEND,
    MARGIN,
    PAIR_COLOURS,
    PAIR_SYMBOLS,
    line_trace,
    log_axis,
)
from dashboard.model.tradeoff import accuracy_range
from dashboard.text.markup import chart_text
from klas.results.pair import Choice, FrontPoint, number
from klas.study import Tier


def front_chart(choices: Sequence[Choice], points: Sequence[FrontPoint], tier: Tier) -> go.Figure:
    """Accuracy against cost of every pair's chosen stitches, the anchors, and one front.

    Args:
        choices: their accuracies are of every candidate, of ``finetuned`` of the chosen ones.
    """
    unit, metric = choices[0].pair.unit, choices[0].pair.task.metric
    anchors = {a["name"]: a for c in choices for a in (c.pair.source, c.pair.target)}
    shown = [a for a in anchors.values() if a["accuracy"] is not None]
    every = np.concatenate([*(c.pair.macs for c in choices), [a["macs"] for a in anchors.values()]])
    every = every / unit.scale
    line = line_trace(
        [*(p.macs / unit.scale for p in points), every.max()] if points else [],
        [100 * p.accuracy for p in [*points, *points[-1:]]],
        {"shape": "hv", "color": ANCHOR, "width": 2},
    )
    traces = [{**line, "name": "Pareto front", "showlegend": True}]
    for k, choice in enumerate(choices):
        rows = np.flatnonzero(choice.chosen & np.isfinite(choice.accuracy))
        name = chart_text(choice.pair.name)
        traces.append(
            {
                "type": "scatter",
                "x": choice.pair.macs[rows] / unit.scale,
                "y": 100 * choice.accuracy[rows],
                "mode": "markers",
                "name": f"{name} ({len(rows)})",
                "marker": {
                    "color": PAIR_COLOURS[k % len(PAIR_COLOURS)],
                    "symbol": PAIR_SYMBOLS[k % len(PAIR_SYMBOLS)],
                    "size": 10,
                },
                "customdata": choice.pair.stitches[rows],
                "hovertemplate": f"<b>{name}</b><br>"
                "stitch %{customdata[0]} → %{customdata[1]}<br>"
                f"%{{x:.3g}} {unit.name}<br>{metric.label} %{{y:.2f}} %<extra></extra>",
            }
        )
    of_anchors = [(a["name"], a["macs"], number(a["accuracy"])) for a in shown]
    traces.append(anchors_trace(of_anchors, unit, metric))
    low, high = np.log10(every.min()), np.log10(every.max())
    pad = 0.04 * max(high - low, 0.1)
    return go.Figure(
        data=traces,
        layout={
            "margin": MARGIN,
            "height": 520,
            "xaxis": {
                "title": {"text": f"{unit.title}, logarithmic"},
                **log_axis(every),
                "range": [low - pad, high + pad],
            },
            "yaxis": {
                "title": {"text": metric.axis},
                "range": list(
                    accuracy_range(
                        [number(a["accuracy"]) for a in shown],
                        [c.accuracy for c in choices],
                        tier,
                    )
                ),
            },
            "legend": LEGEND,
        },
        _validate=False,  # Plotly's own check takes longer than all the rest; tests make it
    )
