"""Stitch lists beside each other as a Plotly figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboard.charts.anchors import anchors_trace
from dashboard.charts.theme import LEGEND, MARGIN, log_axis
from dashboard.model.list_comparison import Listed, curve, measured_at, own_anchors
from dashboard.text.markup import chart_text
from klas.results.documents.stitches import StitchEntry
from klas.results.pair import CostUnit, Document, cost_unit, number
from klas.study import Tier
from klas.tasks.task import task_named


def lists_chart(document: Document, lists: Sequence[Listed], tier: Tier) -> go.Figure:
    """Accuracy against cost of every list's stitches, with its envelope and the anchors."""
    unit, anchors = cost_unit(document), own_anchors(document, lists)
    metric = task_named(document["task"]).metric
    every = np.array([x["macs"] for x in (*anchors, *(s for k in lists for s in k.stitches))])
    right = every.max(initial=0)
    figure = go.Figure()
    for listed in lists:
        name, measured = chart_text(listed.name), measured_at(listed, tier)
        steps = curve(listed, anchors, tier)
        if steps.costs.size:
            figure.add_scatter(
                x=np.append(steps.costs, right) / unit.scale,
                y=100 * np.append(steps.accuracies, steps.accuracies[-1]),
                mode="lines",
                line={"shape": "hv", "color": listed.colour, "width": 2},
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=[s["macs"] / unit.scale for s in measured],
            y=[100 * number(s["accuracy"][tier]) for s in measured],
            mode="markers",
            name=f"{name} ({len(measured)} of {len(listed.stitches)} measured)",
            legendgroup=name,
            marker={
                "symbol": listed.symbol,
                "color": listed.colour,
                "size": 10,
                "line": {"color": listed.colour, "width": 2 * listed.symbol.endswith("-thin")},
            },
            customdata=[_stitch_name(s) for s in measured],
            hovertemplate="%{customdata}<br>%{x:.3g} "
            f"{unit.name}<br>{metric.label} %{{y:.2f}} %<extra>{name}</extra>",
        )
    points = [(a["name"], a["macs"], number(a["accuracy"])) for a in anchors]
    figure.add_trace(anchors_trace(points, unit, metric))
    figure.update_layout(
        margin=MARGIN,
        height=420,
        xaxis=_cost_axis(unit, every, of_one_pair=len(anchors) < 3),
        yaxis={"title": metric.axis},
        legend=LEGEND,
    )
    return figure


def _cost_axis(unit: CostUnit, macs: NDArray[np.float64], *, of_one_pair: bool) -> dict[str, Any]:
    """Linear as the charts of one pair have it; logarithmic as that of all pairs."""
    if of_one_pair:
        return {"title": unit.title, "rangemode": "tozero"}
    return {"title": f"{unit.title}, logarithmic", **log_axis(macs / unit.scale)}


def _stitch_name(stitch: StitchEntry) -> str:
    return chart_text("{source} {source_block} → {target} {target_block}".format_map(stitch))
