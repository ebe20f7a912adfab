"""Pure functions from arrays to Plotly figures. Colours work on light and on dark."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from klas.choice.buckets import Selection
from klas.choice.curves import Envelope
from klas.results import Choice, CostUnit, FrontPoint, Pair

KLAS, SNNET, ANCHOR, FAINT = "#2f7ed8", "#e07b39", "#7a7f87", "rgba(128,134,145,0.55)"
PAIR_COLOURS = ("#2f7ed8", "#e07b39", "#2a9d8f", "#8e6bbf", "#c44e52", "#b8860b")
PAIR_SYMBOLS = ("circle", "square", "triangle-up", "cross")
ANCHOR_COLOURS = ("#2a9d8f", "#8e6bbf", "#c44e52", "#b8860b", "#4c72b0")
CONFIG = {"displaylogo": False, "displayModeBar": False}
MARGIN = {"l": 10, "r": 10, "t": 36, "b": 10}
SCORE_NAMES = {
    "kl": "Γ",
    "theta": "Ω (nats)",
    "ends": "Ω + Ωₙ (nats)",
    "cka": "1 − CKA",
    "mse": "MSE",
    "ce": "CE (nats)",
    "dm": "DM",
    "random": "random",
}
"""What a score is called on an axis, in a table and on a scale."""


def choice_chart(
    pair: Pair,
    selection: Selection,
    scores: NDArray[np.float64],
    tau: float,
    tau_mode: str,
    metric: str,
) -> go.Figure:
    """Score against cost, bucket by bucket: what τ lets through, and what it leaves."""
    figure = go.Figure()
    costs_shown = pair.macs / pair.unit.scale
    edges = selection.edges / pair.unit.scale
    for edge in edges:
        figure.add_vline(x=edge, line={"width": 1, "dash": "dot", "color": FAINT})
    for b, lowest in enumerate(selection.lowest):
        if np.isfinite(lowest):
            limit = (1 + tau) * lowest if tau_mode == "relative" else max(tau, lowest)
            if limit > 0:
                figure.add_shape(
                    type="line",
                    x0=edges[b],
                    x1=edges[b + 1],
                    y0=limit,
                    y1=limit,
                    line={"width": 2, "color": KLAS},
                    opacity=0.55,
                )
    shown = pair.in_space & np.isfinite(scores)
    for name, mask, colour, size in (
        ("not chosen", shown & ~selection.chosen, FAINT, 8),
        ("chosen", shown & selection.chosen, KLAS, 12),
    ):
        rows = np.flatnonzero(mask)
        figure.add_scatter(
            x=costs_shown[rows],
            y=scores[rows],
            mode="markers",
            name=name,
            marker={"color": colour, "size": size},
            customdata=_facts(pair, selection, rows),
            hovertemplate=_HOVER,
        )
    values = scores[shown & (scores > 0)]
    if values.size:
        low, high = np.log10(values.min()), np.log10(values.max())
        pad = 0.08 * max(high - low, 0.2)
        figure.update_yaxes(type="log", range=[low - pad, high + pad])
    figure.update_layout(
        margin=MARGIN,
        height=430,
        xaxis={"title": _cost_title(pair.unit), "range": _padded(edges[[0, -1]])},
        yaxis={"title": f"{SCORE_NAMES[metric]}, lower is better"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def pareto_chart(
    pair: Pair,
    methods: Sequence[tuple[str, str, NDArray[np.bool_], NDArray[np.float64], Envelope]],
) -> go.Figure:
    """Accuracy against cost: each method's stitches and envelope, and the anchors.

    Args:
        methods: (name, colour, which stitches, accuracies (N,), envelope).
    """
    figure = go.Figure()
    anchors = pair.cheap_and_costly
    high = max(a["macs"] for a in anchors) / pair.unit.scale
    low = min(a["macs"] for a in anchors) / pair.unit.scale
    for name, colour, chosen, accuracy, curve in methods:
        costs = np.append(
            curve.costs / pair.unit.scale, max(high, curve.costs[-1] / pair.unit.scale)
        )
        figure.add_scatter(
            x=costs,
            y=100 * np.append(curve.accuracies, curve.accuracies[-1]),
            mode="lines",
            line={"shape": "hv", "color": colour, "width": 2},
            name=f"{name}: envelope",
            legendgroup=name,
            showlegend=False,
            hoverinfo="skip",
        )
        rows = np.flatnonzero(chosen & np.isfinite(accuracy))
        figure.add_scatter(
            x=pair.macs[rows] / pair.unit.scale,
            y=100 * accuracy[rows],
            mode="markers",
            name=f"{name} ({len(rows)})",
            legendgroup=name,
            marker={
                "color": colour,
                "size": 10,
                "symbol": "x-thin" if name == "SN-Net" else "circle",
                "line": {"width": 2.5 if name == "SN-Net" else 0, "color": colour},
            },
            customdata=np.column_stack([pair.stitches[rows], 100 * accuracy[rows]]),
            hovertemplate="stitch %{customdata[0]} → %{customdata[1]}<br>%{x:.3g} "
            + pair.unit.name
            + "<br>top-1 %{customdata[2]:.2f} %<extra>"
            + name
            + "</extra>",
        )
    measured = pair.measured_anchors
    figure.add_scatter(
        x=[a["macs"] / pair.unit.scale for a in measured],
        y=[100 * a["accuracy"] for a in measured],
        mode="markers+text",
        name="anchors",
        text=[a["name"] for a in measured],
        textposition=["top right" if a is anchors[0] else "bottom left" for a in measured],
        marker={"symbol": "diamond", "size": 13, "color": ANCHOR},
        hovertemplate=_anchor_hover(pair.unit),
    )
    figure.update_layout(
        margin=MARGIN,
        height=430,
        xaxis={"title": _cost_title(pair.unit), "range": _padded(np.array([low, high]))},
        yaxis={"title": "top-1 (%)"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def front_chart(choices: Sequence[Choice], points: Sequence[FrontPoint]) -> go.Figure:
    """Accuracy against cost of every pair's chosen stitches, the anchors, and one front."""
    figure = go.Figure()
    unit = choices[0].pair.unit
    anchors = {a["name"]: a for c in choices for a in (c.pair.source, c.pair.target)}
    shown = sorted(
        (a for a in anchors.values() if a["accuracy"] is not None), key=lambda a: a["macs"]
    )
    costs = [p.macs / unit.scale for p in points]
    right = max([a["macs"] / unit.scale for a in anchors.values()] + costs)
    stitched = [c.pair.macs[c.chosen] for c in choices]
    every = np.concatenate([*stitched, [a["macs"] for a in anchors.values()]])
    ticks = log_ticks(every / unit.scale)
    figure.add_scatter(
        x=[*costs, right] if points else [],
        y=[100 * p.accuracy for p in [*points, *points[-1:]]],
        mode="lines",
        line={"shape": "hv", "color": ANCHOR, "width": 2},
        name="Pareto front",
        hoverinfo="skip",
    )
    for k, choice in enumerate(choices):
        rows = np.flatnonzero(choice.chosen & np.isfinite(choice.accuracy))
        figure.add_scatter(
            x=choice.pair.macs[rows] / unit.scale,
            y=100 * choice.accuracy[rows],
            mode="markers",
            name=f"{choice.pair.name} ({len(rows)})",
            marker={
                "color": PAIR_COLOURS[k % len(PAIR_COLOURS)],
                # Colours come round again with another shape.
                "symbol": PAIR_SYMBOLS[k // len(PAIR_COLOURS) % len(PAIR_SYMBOLS)],
                "size": 10,
            },
            customdata=choice.pair.stitches[rows],
            hovertemplate=f"<b>{choice.pair.name}</b><br>"
            "stitch %{customdata[0]} → %{customdata[1]}<br>"
            f"%{{x:.3g}} {unit.name}<br>top-1 %{{y:.2f}} %<extra></extra>",
        )
    figure.add_scatter(
        x=[a["macs"] / unit.scale for a in shown],
        y=[100 * a["accuracy"] for a in shown],
        mode="markers+text",
        name="anchors",
        text=[a["name"] for a in shown],
        textposition=["top right", *["top center"] * (len(shown) - 2), "top left"],
        marker={"symbol": "diamond", "size": 13, "color": ANCHOR},
        hovertemplate=_anchor_hover(unit),
    )
    figure.update_layout(
        margin=MARGIN,
        height=520,
        xaxis={
            "title": f"{_cost_title(unit)}, logarithmic",
            "type": "log",
            "tickvals": ticks,
            "ticktext": [f"{tick:g}" for tick in ticks],
        },
        yaxis={"title": "top-1 (%)"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


_HOVER = (
    "<b>%{customdata[0]} → %{customdata[1]}</b>   bucket %{customdata[2]}%{customdata[3]}<br>"
    "Γ = Ω / Σ = %{customdata[4]}<br>"
    "Ω = %{customdata[5]} nats: source probe %{customdata[0]} ‖ target probe %{customdata[1]}<br>"
    "Σ = %{customdata[6]} nats: what the target's next block adds<br>"
    "%{customdata[7]}, %{customdata[8]} parameters<br>"
    "zero_shot %{customdata[9]}, tuned %{customdata[10]}<extra></extra>"
)


def _facts(pair: Pair, selection: Selection, rows: NDArray[np.int64]) -> list[list[str]]:
    """What the hover says of each stitch, as text."""
    theta_target = pair.raw["theta_target"]
    zero_shot, tuned = pair.accuracy("zero_shot"), pair.accuracy("tuned")
    facts = []
    for row in rows:
        i, j = (int(v) for v in pair.stitches[row])
        bucket = selection.bucket[row]
        facts.append(
            [
                str(i),
                str(j),
                "–" if bucket < 0 else str(bucket),
                ", chosen" if selection.chosen[row] else "",
                f"{pair.scores('kl')[row]:.4g}",
                f"{pair.raw['theta'][i][j]:.4g}",
                f"{theta_target[j][j + 1]:.4g}",
                f"{pair.macs[row] / pair.unit.scale:.4g} {pair.unit.name}",
                f"{pair.raw['candidates'][row]['params']:,}",
                _percent(zero_shot[row]),
                _percent(tuned[row]),
            ]
        )
    return facts


def _anchor_hover(unit: CostUnit) -> str:
    return f"%{{text}}<br>%{{x:.3g}} {unit.name}<br>top-1 %{{y:.2f}} %<extra>anchor</extra>"


def _cost_title(unit: CostUnit) -> str:
    return f"{unit.name} (the papers' {unit.papers})"


def _percent(value: float) -> str:
    return "not measured" if np.isnan(value) else f"{100 * value:.1f} %"


def log_ticks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1, 2, 5 × powers of ten inside the values' range; at least two."""
    positive = values[values > 0]
    if not positive.size:
        return np.array([1.0])
    powers = 10.0 ** np.arange(np.floor(np.log10(positive.min())), np.log10(positive.max()) + 1)
    # Over many decades the powers alone: more would overlap.
    ticks = np.outer(powers, [1] if len(powers) > 4 else [1, 2, 5]).ravel()
    inside = ticks[(ticks >= positive.min()) & (ticks <= positive.max())]
    return inside if inside.size >= 2 else np.array([positive.min(), positive.max()])


def _padded(bounds: NDArray[np.float64]) -> list[float]:
    pad = 0.04 * (bounds[1] - bounds[0])
    return [float(bounds[0] - pad), float(bounds[1] + pad)]
