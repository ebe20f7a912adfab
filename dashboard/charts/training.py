"""A training as Plotly figures: its loss and its rate, and what its members reach."""

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts.anchors import anchors_trace
from dashboard.charts.theme import (
    ANCHOR,
    FAINT,
    KLAS,
    LEGEND,
    MARGIN,
    PAIR_COLOURS,
    PAIR_SYMBOLS,
    log_axis,
)
from dashboard.model.trainings import Curves, Training
from dashboard.text.markup import chart_text
from klas.deploy.member import stitch_name
from klas.results.documents.networks import NetworkMember
from klas.results.pair import CostUnit
from klas.tasks.metric import AccuracyMetric

HEIGHT = 400


def loss_chart(curves: Curves, steps: int) -> go.Figure:
    """The loss of the members that were trained, its mean, and below them the learning rate.

    Args:
        steps: that the whole training takes.
    """
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.07
    )
    figure.add_scatter(
        x=curves.steps,
        y=curves.loss,
        mode="markers",
        name="one step, one member",
        marker={"color": FAINT, "size": 4},
        customdata=[chart_text(name) for name in curves.members],
        hovertemplate="%{customdata}<br>step %{x:,}: loss %{y:.4g}<extra></extra>",
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=curves.steps,
        y=curves.smoothed,
        mode="lines",
        name="mean over steps around",
        line={"color": KLAS, "width": 2},
        hovertemplate="step %{x:,}: %{y:.4g}<extra>mean</extra>",
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=curves.steps,
        y=curves.lr,
        mode="lines",
        name="learning rate",
        showlegend=False,
        line={"color": ANCHOR, "width": 2},
        hovertemplate="step %{x:,}: rate %{y:.3g}<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_layout(margin=MARGIN, height=HEIGHT, legend=LEGEND)
    figure.update_xaxes(range=[0, 1.02 * steps])
    figure.update_xaxes(title="steps", row=2, col=1)
    figure.update_yaxes(title="loss", row=1, col=1)
    figure.update_yaxes(title="rate", rangemode="tozero", nticks=3, row=2, col=1)
    return figure


def validation_chart(training: Training, curves: Curves, metric: AccuracyMetric) -> go.Figure:
    """The accuracy of every member against the steps; the legend switches whole pairs."""
    figure = go.Figure()
    for group, members, colour, symbol in _groups(training):
        shown = True
        for name in members:
            if name not in curves.accuracy:
                continue
            steps, values = curves.accuracy[name]
            figure.add_scatter(
                x=steps,
                y=100 * np.array(values),
                mode="lines+markers",
                name=group,
                legendgroup=group,
                showlegend=shown,
                line={"color": colour, "width": 1.5, "dash": "dot" if group == "anchors" else None},
                marker={"color": colour, "symbol": symbol, "size": 7},
                hovertemplate=f"{chart_text(name)}<br>%{{x:,}} steps: {metric.label} %{{y:.2f}} %"
                "<extra></extra>",
            )
            shown = False
    figure.update_layout(
        margin=MARGIN,
        height=HEIGHT,
        xaxis={"title": "steps", "range": [0, 1.02 * training.recipe.steps]},
        yaxis={"title": metric.axis},
        legend=LEGEND,
    )
    return figure


def members_chart(
    training: Training,
    members: Sequence[NetworkMember],
    tier: str,
    unit: CostUnit,
    metric: AccuracyMetric,
) -> go.Figure:
    """The accuracy of every member of the network against what it costs."""
    by_name = {member["name"]: member for member in members}
    figure = go.Figure()
    for group, names, colour, symbol in _groups(training):
        shown = [by_name[n] for n in names if n in by_name and tier in by_name[n]["accuracy"]]
        if group == "anchors":
            points = [(m["name"], m["macs"], m["accuracy"][tier]) for m in shown]
            figure.add_trace(anchors_trace(points, unit, metric))
            continue
        figure.add_scatter(
            x=[m["macs"] / unit.scale for m in shown],
            y=[100 * m["accuracy"][tier] for m in shown],
            mode="markers",
            name=group,
            marker={"color": colour, "symbol": symbol, "size": 10},
            customdata=[chart_text(m["name"]) for m in shown],
            hovertemplate=f"%{{customdata}}<br>%{{x:.3g}} {unit.name}<br>{metric.label} "
            "%{y:.2f} %<extra></extra>",
        )
    macs = np.array([member["macs"] for member in members], dtype=float)
    several = len(training.pairs) > 1
    title = f"{unit.title}, logarithmic" if several else unit.title
    axis = log_axis(macs / unit.scale) if several else {"rangemode": "tozero"}
    figure.update_layout(
        margin=MARGIN,
        height=HEIGHT,
        xaxis={"title": title, **axis},
        yaxis={"title": metric.axis},
        legend=LEGEND,
    )
    return figure


def _groups(training: Training) -> Iterator[tuple[str, list[str], str, str]]:
    """The members of each pair, and the anchors last: what they are called and drawn with."""
    for k, (source, target) in enumerate(training.pairs):
        names = [
            stitch_name(s["source"], s["source_block"], s["target"], s["target_block"])
            for s in training.listed["stitches"]
            if (s["source"], s["target"]) == (source, target)
        ]
        colour = PAIR_COLOURS[k % len(PAIR_COLOURS)]
        yield chart_text(f"{source} → {target}"), names, colour, PAIR_SYMBOLS[k % len(PAIR_SYMBOLS)]
    anchors = [anchor["name"] for anchor in training.listed["anchors"]]
    yield "anchors", anchors, ANCHOR, "diamond"
