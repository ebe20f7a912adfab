"""Pure functions from a comparison to Plotly figures. Colours work on light and on dark."""

from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from dashboard.charts.anchors import anchors_trace
from dashboard.charts.methods import AT_FIRST, STYLES, curve_traces, method_marker, on_top
from dashboard.charts.theme import ANCHOR, FAINT, LEGEND, MARGIN, log_axis
from dashboard.text.comparison import buckets_of_all
from dashboard.text.quantities import QUANTITIES
from klas.results.comparison_view import (
    AnyMethodFigures,
    anchors_alone,
    anchors_at,
    chance_of,
    chosen_at,
    chosen_of,
    measured_at,
    methods_of,
    ranked_candidates,
    samples_of,
)
from klas.results.documents.comparison import ComparedPair, ComparedStitch, Comparison, Figure
from klas.results.formatting import METHODS
from klas.results.pair import Pair, cost_unit, number
from klas.selection.bootstrap import wilson
from klas.selection.curves import Envelope, envelope
from klas.study import METRICS, Metric, Tier
from klas.tasks.task import task_named

FORETELLING = tuple(metric for metric in METRICS if metric != "race")
"""The methods that say before any training which stitches are good."""

DECADE = 10.0  # scores that span more than this are drawn on a logarithmic axis


def method_curve(
    comparison: Comparison, pair: ComparedPair, metric: Metric, tier: Tier
) -> Envelope:
    """The envelope of a method's stitches and the pair's anchors at a tier."""
    macs, accuracies = chosen_at(pair, metric, tier)
    anchors = anchors_at(comparison, pair, tier)
    return envelope(
        np.append(macs, [a[1] for a in anchors]), np.append(accuracies, [a[2] for a in anchors])
    )


def curves_chart(comparison: Comparison, pair: ComparedPair, tier: Tier) -> go.Figure:
    """Accuracy against cost: every method's stitches and envelope, each switched by its legend."""
    unit, accuracy = cost_unit(comparison), task_named(comparison["task"]).metric
    anchors = anchors_at(comparison, pair, tier)
    right = max([macs for _, macs, _ in anchors] + [_costs(pair).max(initial=0.0)])
    samples = samples_of(comparison, tier)
    figure = go.Figure()
    for metric in sorted(METRICS, key=on_top):
        stitches = measured_at(pair, metric, tier)
        if not stitches:
            continue
        macs, accuracies = chosen_at(pair, metric, tier)
        curve = method_curve(comparison, pair, metric, tier)
        traces = curve_traces(
            metric,
            macs / unit.scale,
            100 * accuracies,
            Envelope(curve.costs / unit.scale, 100 * curve.accuracies),
            right / unit.scale,
            samples,
            customdata=[_stitch_facts(s) for s in stitches],
            hovertemplate="stitch %{customdata[0]}, bucket %{customdata[1]}<br>"
            f"score %{{customdata[2]}}<br>%{{x:.3g}} {unit.name}<br>"
            f"{accuracy.label} %{{y:.2f}} %<extra>{METHODS[metric]}</extra>",
        )
        visible = True if metric in AT_FIRST else "legendonly"
        figure.add_traces([{**trace, "visible": visible} for trace in traces])
    named = anchors_trace(anchors, unit, accuracy)
    figure.add_trace(named | {"textposition": ["top right", "bottom left"][: len(anchors)]})
    trained = _trained_alone(comparison, pair, tier)
    if trained:
        alone = anchors_trace(trained, unit, accuracy)
        figure.add_trace(alone | _HOLLOW)
    # Fixed: what is switched on must not move what is there.
    costs = np.append(_costs(pair), [macs for _, macs, _ in anchors]) / unit.scale
    pad = 0.04 * (costs.max() - costs.min()) if costs.size else 0.0
    figure.update_layout(
        margin=MARGIN,
        height=470,
        xaxis={
            "title": unit.title,
            "range": [costs.min() - pad, costs.max() + pad] if costs.size else None,
        },
        yaxis={
            "title": accuracy.axis,
            "range": _accuracy_range(pair, [*anchors, *trained], tier, samples),
        },
        legend=LEGEND,
    )
    return figure


_HOLLOW = {
    "name": "anchors trained alone, for as many steps",
    "mode": "markers",  # they stand above or below those with names
    "marker": {"symbol": "diamond-open", "size": 13, "color": ANCHOR, "line": {"width": 2}},
}


def _trained_alone(
    comparison: Comparison, pair: ComparedPair, tier: Tier
) -> list[tuple[str, float, float]]:
    """Name, MACs and accuracy of the anchors after the same training without stitches, if known."""
    if tier != "finetuned":
        return []
    macs = {a["name"]: float(a["macs"]) for a in comparison["anchors"]}
    known = anchors_alone(pair, comparison["study"]["finetuning"]["steps"])
    return [(name, macs[name], number(figure["value"])) for name, figure in known.items()]


def score_chart(pair: Pair, metric: Metric, chosen: set[tuple[int, int]]) -> go.Figure:
    """Every candidate's score against its tuned accuracy: a score that ranks well falls.

    Args:
        chosen: (i, j) of what the method chose; drawn full, the others hollow.
    """
    scores, accuracies = pair.scores(metric), pair.accuracy("tuned")
    shown = pair.in_space & np.isfinite(scores) & np.isfinite(accuracies)
    taken = np.array([(int(i), int(j)) in chosen for i, j in pair.stitches], dtype=bool)
    figure = go.Figure()
    for name, mask, marker in (
        ("other candidates", shown & ~taken, method_marker(metric, 8, hollow=True)),
        ("chosen", shown & taken, method_marker(metric, 11)),
    ):
        rows = np.flatnonzero(mask)
        figure.add_scatter(
            x=scores[rows],
            y=100 * accuracies[rows],
            mode="markers",
            name=f"{name} ({len(rows)})",
            marker=marker,
            customdata=[
                ["{} → {}".format(*pair.stitches[row]), f"{pair.macs[row] / pair.unit.scale:.3g}"]
                for row in rows
            ],
            hovertemplate="stitch %{customdata[0]}<br>score %{x:.4g}<br>"
            f"tuned {pair.task.metric.label} %{{y:.2f}} %<br>"
            f"%{{customdata[1]}} {pair.unit.name}<extra>{name}</extra>",
        )
    values = scores[shown]
    wide = metric != "random" and values.size and 0 < DECADE * values.min() < values.max()
    figure.update_layout(
        margin=MARGIN,
        height=470,
        xaxis={
            "title": f"{QUANTITIES[metric].label}, lower is better"
            + (", logarithmic" if wide else ""),
            **(log_axis(values) if wide else {"type": "linear"}),
        },
        yaxis={"title": f"tuned {pair.task.metric.axis}"},
        legend=LEGEND,
    )
    return figure


def agreement_chart(comparison: Comparison) -> go.Figure:
    """How well each method agrees with the oracle over all pairs, with intervals.

    The share of buckets whose best it hits (with its chance level), the share whose best is among
    the chosen, and ρ within buckets.
    """
    every = comparison["all_pairs"]
    buckets = max(buckets_of_all(comparison), 1)
    ranked = max(ranked_candidates(method) for method in methods_of(every).values())
    panels: list[tuple[str, Callable[[AnyMethodFigures], Figure | None], float]] = [
        ("hits the best<br>(% of buckets)", lambda m: m["overlap"], 100 / buckets),
        ("holds the best<br>(% of buckets)", lambda m: m["containment"], 100 / buckets),
        (f"ρ within buckets<br>({ranked} candidates)", lambda m: m["spearman_within"], 1.0),
    ]
    figure = make_subplots(
        rows=1,
        cols=len(panels),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[title for title, _, _ in panels],
    )
    for column, (_, read, scale) in enumerate(panels, start=1):
        for metric in FORETELLING:
            method = methods_of(every).get(metric)
            figure_of_method = None if method is None else read(method)
            if figure_of_method is not None:
                for trace in _dot(metric, figure_of_method, scale):
                    figure.add_trace(trace, row=1, col=column)
    figure.update_annotations(font={"size": 13})
    chance = 100 * chance_of(every) / buckets
    figure.add_vline(x=chance, line={"width": 1.5, "dash": "dash", "color": FAINT}, row=1, col=1)
    figure.add_annotation(  # on the line of the set, which has no hits
        x=chance,
        y=METHODS["snnet"],
        text=f" chance {chance:.0f} %",
        xanchor="left",
        showarrow=False,
        row=1,
        col=1,
    )
    figure.add_vline(x=0, line={"width": 1, "color": FAINT}, row=1, col=3)
    for column in (1, 2):
        figure.update_xaxes(range=[-3, 103], dtick=20, row=1, col=column)
    ends = [value for t in figure.data if t.xaxis == "x3" for value in t.x] + [0.0]
    pad = 0.05 * (max(ends) - min(ends))
    figure.update_xaxes(range=[min(ends) - pad, max(ends) + pad], row=1, col=3)
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=[METHODS[metric] for metric in reversed(FORETELLING)],
        range=[-0.6, len(FORETELLING) - 0.4],
    )
    margin = {**MARGIN, "t": 48}  # titles of two lines, which stay apart in a narrow window
    figure.update_layout(margin=margin, height=430, showlegend=False)
    return figure


def _dot(metric: Metric, interval: Figure, scale: float) -> list[go.Scatter]:
    """A figure and its interval on a method's own line."""
    colour = STYLES[metric].colour
    value, low, high = (
        scale * number(end) for end in (interval["value"], interval["low"], interval["high"])
    )
    name = METHODS[metric]
    return [
        go.Scatter(
            x=[low, high],
            y=[name, name],
            mode="lines",
            line={"color": colour, "width": 3},
            hoverinfo="skip",
        ),
        go.Scatter(
            x=[value],
            y=[name],
            name=name,
            mode="markers",
            marker=method_marker(metric, 12),
            hovertemplate=f"%{{x:.3g}} [{low:.3g}, {high:.3g}]<extra>{name}</extra>",
        ),
    ]


def _accuracy_range(
    pair: ComparedPair, anchors: Sequence[tuple[str, float, float]], tier: Tier, samples: int
) -> list[float] | None:
    """From below the lowest whisker to above the highest, of all methods and the anchors."""
    chosen = np.concatenate([chosen_at(pair, metric, tier)[1] for metric in chosen_of(pair)])
    whiskers = np.concatenate(wilson(chosen, samples))
    ends = 100 * np.append(whiskers, [accuracy for _, _, accuracy in anchors])
    if not ends.size:
        return None
    pad = 0.05 * (ends.max() - ends.min())
    return [float(ends.min() - pad), float(ends.max() + pad)]


def _costs(pair: ComparedPair) -> NDArray[np.float64]:
    """MACs of everything that any method chose."""
    every = [s["macs"] for stitches in chosen_of(pair).values() for s in stitches]
    return np.array(every, dtype=np.float64)


def _stitch_facts(stitch: ComparedStitch) -> list[str]:
    """What the hover says of a stitch, as text: a set has no score, and some have no bucket."""
    score, bucket = number(stitch["score"]), stitch["bucket"]
    return [
        f"{stitch['source_block']} → {stitch['target_block']}",
        "–" if bucket is None else str(bucket),
        "–" if np.isnan(score) else f"{score:.3g}",
    ]
