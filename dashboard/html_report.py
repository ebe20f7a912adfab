"""A study as one HTML file with every figure and table, to open without the app."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from dashboard.anchor_figures import anchors_chart, probe_chart
from dashboard.comparison_figures import STYLES
from dashboard.heatmap import cell_map
from dashboard.lists import Listed, lists_chart
from klas.exports import stitch_list
from klas.report import METHODS, percent
from klas.results import Document, Pair, choose, cost_unit, pairs_of
from klas.study import Metric, SelectionSpec, Study

CONFIG = {"displaylogo": False, "displayModeBar": False, "showTips": False}
STYLE = """
body {font: 16px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem;
      color: #262730; background: #fff}
table {border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums}
th, td {padding: .25rem .75rem; border-bottom: 1px solid #ddd; text-align: right}
th:first-child, td:first-child {text-align: left}
pre {background: #f6f6f4; padding: .75rem; overflow-x: auto}
figure {margin: 1.5rem 0}
button {font: inherit; font-size: .8rem; border: 1px solid #bbb; border-radius: 4px;
        background: none; cursor: pointer}
figcaption {color: #5b5f66}
"""
SAVE = """
function save(button, format) {
  const plot = button.closest("figure").querySelector(".js-plotly-plot");
  Plotly.downloadImage(plot, {format: format, scale: 2, filename: plot.closest("figure").id});
}
"""


def study_report(
    found: Document, study: Study, spec: SelectionSpec, own: Mapping[str, Any] | None
) -> bytes:
    """The file's bytes.

    Args:
        found: a document whose scores are computed.
        spec: the selection that its figures show.
        own: a stitch list that is shown too.
    """
    pairs = [pair for pair in pairs_of(found) if pair.in_space.any()]
    body = [
        f"<h1>{escape(study.name)}</h1>",
        _origin(found, spec),
        "<h2>Anchors</h2>",
        _anchors(found),
        _figure("anchors", anchors_chart(found), "Top-1 of the anchors against their cost."),
        _figure("probes", probe_chart(found["anchors"]), "Top-1 of the probes by cut."),
        "<h2>Pairs</h2>",
        _ranking(found),
        *(part for pair in pairs for part in _pair(pair, spec)),
        *(_own_list(found, own) if own is not None else []),
        "<h2>The study</h2>",
        f"<pre>{escape(study.to_toml())}</pre>",
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(study.name)} – KLAS</title><style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script><script>{SAVE}</script></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )
    return page.encode()


def _origin(found: Document, spec: SelectionSpec) -> str:
    made, data = found["made_with"], found["data"]
    splits = [
        f"{data[split]['samples']:,} of {data[split]['images']:,} {words} images "
        f"({escape(data[split]['ref'])}, seed {data[split]['seed']})"
        for split, words in (("train", "training"), ("val", "validation"))
    ]
    return (
        f"<p>Made with klas {escape(made['klas'])}, torch {escape(made['torch'])}, timm "
        f"{escape(made['timm'])}; forward passes in {escape(found['precision'])}; "
        f"{' and '.join(splits)}. Chosen with τ = {spec.tau:g} ({spec.tau_mode}) in "
        f"{spec.buckets} buckets of equal {spec.binning}.</p>"
    )


def _anchors(found: Document) -> str:
    unit = cost_unit(found)
    rows = [
        (
            a["name"],
            a["blocks"],
            f"{a['macs'] / unit.scale:.3g}",
            f"{a['params']:,}",
            percent(a["accuracy"]),
        )
        for a in found["anchors"]
    ]
    return _table(("anchor", "blocks", unit.name, "parameters", "top-1"), rows)


def _ranking(found: Document) -> str:
    ranked = sorted(
        (p for p in found["pairs"] if p["theta_output"] is not None),
        key=lambda p: p["theta_output"],
    )
    rows = [(f"{p['source']} → {p['target']}", f"{p['theta_output']:.4f}") for p in ranked]
    return _table(("source → target", "Θ of the outputs (nats)"), rows) if rows else ""


def _pair(pair: Pair, spec: SelectionSpec) -> Iterable[str]:
    """Its map of Γ, its choice, its curve."""
    ours = spec.model_copy(update={"metric": "kl"})
    picked = choose(pair, ours)
    yield f"<h2>{escape(pair.name)}</h2>"
    yield _figure(
        f"gamma-{pair.index}",
        cell_map(pair, picked, "kl", "kl"),
        "Γ of every stitch, lower is better. Numbers are buckets of cost; framed are the chosen, "
        "dotted the best of a bucket.",
    )
    tuned = pair.accuracy("tuned")
    if np.isfinite(tuned).all():
        specs: dict[Metric, SelectionSpec] = {
            metric: spec.model_copy(update={"metric": metric}) for metric in ("kl", "snnet")
        }
        shown = [
            Listed(METHODS[m], stitch_list(pair.document, chosen, pairs=[pair]), *STYLES[m])
            for m, chosen in specs.items()
        ]
        yield _figure(
            f"curve-{pair.index}",
            lists_chart(pair.document, shown, "tuned"),
            "Accuracy against cost with tuned stitch layers, beside SN-Net's set.",
        )
    scores, zero_shot = pair.scores("kl"), pair.accuracy("zero_shot")
    chosen = np.flatnonzero(picked.chosen)
    rows = [
        (
            "{} → {}".format(*pair.stitches[row]),
            picked.bucket[row],
            f"{pair.macs[row] / pair.unit.scale:.4g}",
            f"{scores[row]:.4g}",
            percent(zero_shot[row]),
            percent(tuned[row]),
        )
        for row in chosen[np.argsort(pair.macs[chosen], kind="stable")]
    ]
    yield _table(("chosen stitch", "bucket", pair.unit.name, "Γ", "zero_shot", "tuned"), rows)


def _own_list(found: Document, own: Mapping[str, Any]) -> Iterable[str]:
    listed = Listed("the list", own, *STYLES["kl"])
    unit = cost_unit(found)
    yield "<h2>The list</h2>"
    yield _figure("list", lists_chart(found, [listed], "tuned"), "The list's stitches, tuned.")
    rows = [
        (
            f"{s['source']} → {s['target']}: {s['source_block']} → {s['target_block']}",
            f"{s['macs'] / unit.scale:.4g}",
            f"{s['params']:,}",
            *(percent(s["accuracy"][tier]) for tier in ("zero_shot", "tuned", "finetuned")),
        )
        for s in own["stitches"]
    ]
    head = ("stitch", unit.name, "parameters", "zero_shot", "tuned", "finetuned")
    yield _table(head, rows)


def _figure(name: str, figure: go.Figure, caption: str) -> str:
    """A figure with its caption, which is also its text for those who don't see it."""
    plot = figure.to_plotly_json()
    plot["layout"]["template"] = pio.templates["plotly_white"].to_plotly_json()
    drawn = pio.to_html(
        plot,
        full_html=False,
        include_plotlyjs=False,
        config=CONFIG,
        div_id=f"{name}-plot",
        validate=False,
    )
    buttons = "".join(
        f"<button onclick=\"save(this, '{kind.lower()}')\">{kind}</button> "
        for kind in ("PNG", "SVG")
    )
    return (
        f'<figure id="{name}"><div role="img" aria-label="{escape(caption)}">{drawn}</div>'
        f"<figcaption>{escape(caption)} {buttons}</figcaption></figure>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def line(cells: Sequence[object], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(str(c))}</{tag}>' for c in cells)}</tr>"

    lines = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{lines}</tbody></table>"
