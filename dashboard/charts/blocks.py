"""An anchor's blocks in a chart: its colour, their names at an axis, what their probes read."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.charts.theme import ANCHOR_COLOURS
from dashboard.text.markup import chart_text
from klas.results.documents.sources import AnchorEntry
from klas.results.pair import Pair

NAMED = {"x": 8, "y": 16}  # blocks on an axis whose ticks have room for names
NAME_LENGTH = 14  # of a block's name at a tick
MOST_TICKS = 32
NOT_CONVERGED = "<br>this probe did not converge"


def anchor_colour(pair: Pair, anchor: AnchorEntry) -> str:
    """An anchor's colour: the one that it has among the probes of all anchors."""
    names = [a["name"] for a in pair.document["anchors"]]
    return ANCHOR_COLOURS[names.index(anchor["name"]) % len(ANCHOR_COLOURS)]


def block_names(anchor: AnchorEntry, most: int = 60) -> list[str]:
    """(n + 1,) the module before each cut, as text that Plotly shows as it is."""
    return [chart_text(name, most) for name in anchor["cuts"]]


def block_ticks(cuts: Sequence[int], anchor: AnchorEntry, axis: str) -> dict[str, Any]:
    """A tick for every cut, with the block's name where there is room, of very many for some."""
    if not cuts:
        return {"showticklabels": False, "showgrid": False, "zeroline": False}
    texts = [str(k) for k in cuts]
    if len(cuts) <= NAMED[axis]:
        names = block_names(anchor, NAME_LENGTH)
        form = "{}<br>{}" if axis == "x" else "{1}  {0}"
        texts = [form.format(k, names[k]) for k in cuts]
    step = -(-len(cuts) // MOST_TICKS)
    return {
        "tickvals": cuts[::step],
        "ticktext": texts[::step],
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
    }


def probe_strips(pair: Pair, columns: Sequence[int], rows: Sequence[int]) -> list[dict[str, Any]]:
    """Above and at the right, what the probe at each cut of target and source reads (%)."""
    traces, label = [], pair.task.metric.label
    for anchor, cuts, axes in (
        (pair.target, columns, {"xaxis": "x", "yaxis": "y2"}),
        (pair.source, rows, {"xaxis": "x2", "yaxis": "y", "orientation": "h"}),
    ):
        accuracy, converged = anchor["probe_accuracy"], anchor["probe_converged"]
        if accuracy is None or converged is None or not cuts:
            continue
        read = [100 * accuracy[k] for k in cuts]
        names = block_names(anchor)
        where, over = ("x", "y") if axes["xaxis"] == "x" else ("y", "x")
        traces.append(
            {
                "type": "bar",
                where: cuts,
                over: read,
                **axes,
                "marker": {
                    "color": anchor_colour(pair, anchor),
                    "pattern": {"shape": ["" if converged[k] else "/" for k in cuts]},
                },
                "unselected": {"marker": {"opacity": 1}},
                "text": [
                    f"<b>{chart_text(anchor['name'], 60)}</b><br>probe after {names[k]}, cut {k}:"
                    f" {label} {value:.1f} %{'' if converged[k] else NOT_CONVERGED}"
                    for k, value in zip(cuts, read)
                ],
                "textposition": "none",
                "hovertemplate": "%{text}<extra></extra>",
                "showlegend": False,
            }
        )
    return traces


def probe_axis(probes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One scale for both strips, with one tick that says how much that is."""
    if not probes:
        return {"visible": False}
    most = max(max(probe["y" if probe["xaxis"] == "x" else "x"]) for probe in probes)
    tick = most - most % 10 if most >= 10 else most
    return {
        "range": [0, max(most, 1e-9) * 1.04],
        "tickvals": [0, tick],
        "ticktext": ["", f"{tick:.3g} %"],
        "tickfont": {"size": 10},
        "showgrid": True,
        "zeroline": False,
    }
