"""Pure functions from anchors to Plotly figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.theme import ANCHOR, ANCHOR_COLOURS, FAINT, LEGEND, MARGIN, log_axis
from dashboard.text.markup import chart_text
from klas.results.documents.sources import AnchorEntry
from klas.results.pair import CostUnit, Document, cost_unit
from klas.tasks.metric import AccuracyMetric
from klas.tasks.task import task_named


def anchors_chart(document: Document) -> go.Figure:
    """Accuracy against cost of the anchors, joined where the study stitches one to another.

    An anchor without a head has no accuracy and no place here.
    """
    unit, metric = cost_unit(document), task_named(document["task"]).metric
    places = {
        a["name"]: (a["macs"] / unit.scale, 100 * a["accuracy"])
        for a in document["anchors"]
        if a["accuracy"] is not None
    }
    figure = go.Figure()
    for pair in document["pairs"]:
        ends = [places[pair[role]] for role in ("source", "target") if pair[role] in places]
        if len(ends) == 2:
            figure.add_scatter(
                x=[macs for macs, _ in ends],
                y=[accuracy for _, accuracy in ends],
                mode="lines",
                line={"color": FAINT, "width": 1},
                hoverinfo="skip",
                showlegend=False,
            )
    costliest = max((macs for macs, _ in places.values()), default=0.0)
    for anchor, colour in _coloured(document["anchors"]):
        if anchor["name"] in places:
            macs, accuracy = places[anchor["name"]]
            name = chart_text(anchor["name"])
            figure.add_scatter(
                x=[macs],
                y=[accuracy],
                mode="markers+text",
                name=name,
                text=name,
                textposition="top left" if macs == costliest else "top center",
                cliponaxis=False,
                marker={"symbol": "diamond", "size": 13, "color": colour},
                hovertemplate=f"{name}<br>%{{x:.3g}} {unit.name}, {anchor['params']:,} parameters"
                f"<br>{metric.label} %{{y:.2f}} %<extra></extra>",
                showlegend=False,
            )
    costs = np.array([macs for macs, _ in places.values()])
    figure.update_layout(
        margin=MARGIN,
        height=300,
        xaxis={
            "title": f"{unit.title}, logarithmic",
            **log_axis(costs),
        },
        yaxis={"title": metric.axis},
    )
    return figure


def probe_chart(document: Document) -> go.Figure:
    """What a linear probe reads after every block of every anchor; hollow: it did not converge."""
    figure = go.Figure()
    for anchor, colour in _coloured(document["anchors"]):
        accuracy, converged = anchor["probe_accuracy"], anchor["probe_converged"]
        if accuracy is None or converged is None:
            continue
        values, name = 100 * np.array(accuracy), chart_text(anchor["name"])
        figure.add_scatter(
            x=np.arange(len(values)),
            y=values,
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2},
            marker={"size": 8, "symbol": ["circle" if c else "circle-open" for c in converged]},
            customdata=[
                [chart_text(cut), "" if c else ", did not converge"]
                for cut, c in zip(anchor["cuts"], converged)
            ],
            hovertemplate="cut %{x} (%{customdata[0]}): %{y:.1f} %%{customdata[1]}"
            f"<extra>{name}</extra>",
        )
    figure.update_layout(
        margin=MARGIN,
        height=300,
        xaxis={"title": "cut (0 follows the stem)", "dtick": 1},
        yaxis={"title": f"probe {task_named(document['task']).metric.axis}"},
        legend=LEGEND,
    )
    return figure


def anchors_trace(
    anchors: Sequence[tuple[str, float, float]], unit: CostUnit, metric: AccuracyMetric
) -> dict[str, Any]:
    """The anchors as diamonds, named inside the figure.

    Args:
        anchors: name, cost in plain units, and accuracy in [0, 1] of each.
        unit: of the axis of cost.
        metric: what an accuracy is.
    """
    costs = [cost / unit.scale for _, cost, _ in anchors]
    places = {max(costs, default=0.0): "top left", min(costs, default=0.0): "top right"}
    return {
        "type": "scatter",
        "x": costs,
        "y": [100 * accuracy for _, _, accuracy in anchors],
        "mode": "markers+text",
        "name": "anchors",
        "text": [chart_text(name) for name, _, _ in anchors],
        "textposition": [places.get(c, "top center") for c in costs],
        "marker": {"symbol": "diamond", "size": 13, "color": ANCHOR},
        "cliponaxis": False,
        "unselected": {"marker": {"opacity": 1}},
        # Told how a selected text looks, Plotly leaves the others as they are.
        "selected": {"textfont": {"color": ANCHOR}},
        "hovertemplate": f"%{{text}}<br>%{{x:.3g}} {unit.name}<br>"
        f"{metric.label} %{{y:.2f}} %<extra>anchor</extra>",
    }


def _coloured(anchors: Sequence[AnchorEntry]) -> list[tuple[AnchorEntry, str]]:
    """Each anchor with the colour that it has in every figure."""
    return list(zip(anchors, ANCHOR_COLOURS * len(anchors)))
