"""What every method reaches after how much joint training, as a Plotly figure."""

from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.methods import STYLES, method_marker
from dashboard.charts.theme import LEGEND, MARGIN
from dashboard.model.training_budgets import BudgetFigure, Methods, at_budget, budgets_of
from klas.results.formatting import METHODS
from klas.results.pair import number
from klas.tasks.metric import AccuracyMetric

SIDE_BY_SIDE = (
    "Methods are drawn slightly apart so that their bars don't overlap; at each budget all were "
    "trained for the same number of steps."
)
"""What a caption of :func:`budget_chart` has to say."""


def budget_chart(methods: Methods, name: BudgetFigure, accuracy: AccuracyMetric) -> go.Figure:
    """A figure of every method against the steps of joint training.

    The budgets stand at equal distances: all but the first are four times the one before.

    Args:
        methods: a pair's, or those over all pairs.
        name: of the figure.
        accuracy: what an accuracy is.
    """
    scale = 100.0 if name == "mean_top1" else 1.0
    steps = budgets_of(methods)
    shown = [metric for metric in methods if budgets_of({metric: methods[metric]})]
    figure = go.Figure()
    for k, metric in enumerate(shown):
        # Side by side, or whiskers would hide each other; but none as if it were trained longer.
        places = np.arange(len(steps)) + 0.02 * (k - (len(shown) - 1) / 2)
        at = [
            (place, step, interval)
            for place, step in zip(places, steps)
            if (interval := at_budget(methods[metric], step, name)) is not None
        ]
        colour = STYLES[metric].colour
        figure.add_scatter(
            x=_broken((place, place) for place, _, _ in at),
            y=_broken((scale * number(f["low"]), scale * number(f["high"])) for _, _, f in at),
            mode="lines",
            name=f"{METHODS[metric]}: intervals",
            line={"color": colour, "width": 1.5},
            legendgroup=metric,
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[place for place, _, _ in at],
            y=[scale * number(f["value"]) for _, _, f in at],
            mode="lines+markers",
            name=METHODS[metric],
            legendgroup=metric,
            line={"color": colour, "width": 1.5, "dash": "dot" if metric == "random" else "solid"},
            marker=method_marker(metric, 9),
            customdata=[
                [f"{step:,}", scale * number(f["low"]), scale * number(f["high"])]
                for _, step, f in at
            ],
            hovertemplate="%{customdata[0]} steps<br>%{y:.4g} "
            f"[%{{customdata[1]:.4g}}, %{{customdata[2]:.4g}}]<extra>{METHODS[metric]}</extra>",
        )
    figure.update_layout(
        margin=MARGIN,
        height=430,
        xaxis={
            "title": "steps of joint training",
            "tickvals": list(range(len(steps))),
            "ticktext": [f"{step:,}" for step in steps],
            "range": [-0.4, len(steps) - 0.6],
            "zeroline": False,
        },
        yaxis={"title": f"mean {accuracy.axis}" if name == "mean_top1" else "auc_stitches"},
        legend=LEGEND,
    )
    return figure


def _broken(pieces: Iterable[Sequence[float]]) -> list[float | None]:
    """Coordinates of separate pieces of one line: Plotly lifts its pen at None."""
    return [value for piece in pieces for value in (*piece, None)]
