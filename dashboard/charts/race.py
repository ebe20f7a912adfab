"""A race as a Plotly figure: who was how good at each rung, and who dropped out there."""

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.methods import STYLES
from dashboard.charts.theme import FAINT, LEGEND, MARGIN
from klas.results.accuracies import Raced
from klas.results.pair import Pair
from klas.selection.space import name_of


def race_chart(pair: Pair, race: Raced) -> go.Figure:
    """A line for each stitch, from rung to rung; those that are kept in full colour to the end."""
    unit, metric = pair.unit, pair.task.metric
    costs = dict(zip(map(name_of, pair.everywhere), pair.macs / unit.scale))
    moments = [(rung["step"], rung["accuracy"]) for rung in race["rungs"]]
    if over := race["accuracy"] is not None:
        moments.append((race["steps"], race["accuracy"]))
    figure = go.Figure()
    for kept in (False, True):  # those that are kept lie over the others
        shown = True
        for name in moments[0][1]:
            if (name in race["left"]) is not kept:
                continue
            line = [(step, 100 * at[name]) for step, at in moments if name in at]
            colour = STYLES["race"].colour if kept else FAINT
            figure.add_scatter(
                x=[step for step, _ in line],
                y=[value for _, value in line],
                mode="lines+markers",
                name=("kept" if over else "still racing") if kept else "dropped out",
                legendgroup=str(kept),
                showlegend=shown,
                line={"color": colour, "width": 2 if kept else 1.5},
                marker={
                    "color": colour,
                    "size": 8,
                    # A cross where it dropped out.
                    "symbol": ["circle"] * (len(line) - 1) + ["circle" if kept else "x"],
                },
                hovertemplate=f"stitch {name.replace('-', ' → ')}, {costs[name]:.3g} {unit.name}"
                f"<br>%{{x:,}} steps<br>{metric.label} %{{y:.2f}} %<extra></extra>",
            )
            shown = False
    reached = np.array([100 * value for _, at in moments for value in at.values()])
    pad = max(0.05 * float(reached.max() - reached.min()), 0.5)
    figure.update_layout(
        margin=MARGIN,
        height=360,
        xaxis={"title": "steps of joint training", "range": [0, max(race["steps"], 1) * 1.03]},
        yaxis={
            "title": metric.axis,
            "range": [float(reached.min()) - pad, float(reached.max()) + pad],
        },
        legend=LEGEND,
    )
    return figure
