"""A score of every stitch of a pair, as a map; a click on a cell opens that stitch beside it."""

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from dashboard import figures, heatmap, links
from dashboard.state import (
    heading,
    keep,
    pick_metric,
    pick_pair,
    remembered,
    says_errors,
    scored_document,
    selection,
    store,
    study,
)
from klas.choice.buckets import Selection
from klas.report import METHODS, percent
from klas.results import Pair, choose, finetuned_accuracy
from klas.study import METRICS, Metric, SelectionSpec

READING = {
    "theta": "**Ω** is the distance across the stitch alone: how far the source's probe after "
    "block *i* is from the target's after block *j*, in nats, whatever the next block can do.",
    "ends": "**Ω + Ωₙ** adds to Ω how far the source's probe after block *i* is from the target's "
    "*last* one: what the rest of the target would still have to change. Ours, not the paper's.",
    "cka": "One minus the linear **CKA** of the activations at the two cuts: 0 where both arrange "
    "the images alike. The unbiased estimator may come out slightly above 1.",
    "mse": "The **mean squared difference** between the probabilities of the two probes.",
    "ce": "The **cross-entropy** of the target's probe under the source's: Ω, and the source "
    "probe's own uncertainty.",
    "dm": "**Direct matching**: the share of the target's activation that the stitch layer of "
    "least squares leaves unexplained.",
    "random": "A seeded draw: the floor that every score has to beat.",
}


def _how_to_read(metric: Metric) -> None:
    st.subheader("How to read it")
    if metric != "kl":
        st.markdown(READING[metric])
        return
    st.latex(
        r"\Gamma(i,j)=\frac{\Omega}{\Sigma}="
        r"\frac{\Theta(P_i^f,\,P_j^g)}{\Theta(P_j^g,\,P_{j+1}^g)}"
    )
    st.markdown(
        "- **Ω** is the distance across the stitch: how far the source's probe after block "
        "*i* is from the target's after block *j*, in nats.\n"
        "- **Σ** is the capacity of the block that follows: how much the target's next block "
        "changes its own probe.\n"
        "- A stitch is promising where the next block can make up for the distance."
    )


def _best(pair: Pair, metric: Metric) -> None:
    st.subheader("Best of the pair")
    rows = np.flatnonzero(pair.in_space)
    rows = rows[pair.scores(metric)[rows].argsort(kind="stable")[:8]]
    shown = dict.fromkeys((metric, "kl", "theta"))
    columns = {figures.SCORE_NAMES[name]: pair.scores(name)[rows] for name in shown}
    table = {
        "stitch": ["{} → {}".format(*stitch) for stitch in pair.stitches[rows]],
        **columns,
        pair.unit.name: pair.macs[rows] / pair.unit.scale,
        "tuned (%)": 100 * pair.accuracy("tuned")[rows],
    }
    three = st.column_config.NumberColumn(format="%.3g")
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        column_config={
            **dict.fromkeys([*columns, pair.unit.name], three),
            "tuned (%)": st.column_config.NumberColumn(format="%.1f"),
        },
    )


def _chosen_row(pair: Pair) -> int | None:
    """The row of the cell that was clicked, or that the address names."""
    cell = remembered("cell", None)
    if cell is None:
        return None
    rows = np.flatnonzero((pair.stitches == cell).all(axis=1) & pair.in_space)
    if not rows.size:
        said = links.unknown("cell", "{}-{}".format(*cell), "the pair has no such stitch")
        st.warning(said, icon=":material/link_off:")
        keep("cell", None)
        return None
    return int(rows[0])


def rank_in_bucket(
    scores: NDArray[np.float64], bucket: NDArray[np.int64], row: int
) -> tuple[int, int]:
    """The place of a candidate among those of its bucket, and how many they are; equals share."""
    rivals = scores[bucket == bucket[row]]
    return 1 + int((rivals < scores[row]).sum()), len(rivals)


def _stitch(pair: Pair, picked: Selection, row: int) -> None:
    """Everything that is known of one stitch."""
    i, j = pair.stitches[row]
    source, target = pair.names
    bucket = int(picked.bucket[row])
    st.subheader(f"Stitch {i} → {j}")
    marks = [
        "outside the buckets" if bucket < 0 else f"bucket {bucket}",
        "chosen" if picked.chosen[row] else "not chosen",
        *(["in SN-Net's set"] if pair.snnet[row] else []),
    ]
    st.markdown(
        f"The first **{i}** of {pair.source['blocks']} blocks of {source}, a stitch layer, and "
        f"{target} after block **{j}** of {pair.target['blocks']}: {', '.join(marks)}."
    )
    params = pair.raw["candidates"][row]["params"]
    finetuned = finetuned_accuracy(store(), pair, picked.chosen, study())
    facts = {
        pair.unit.name: f"{pair.macs[row] / pair.unit.scale:.4g}",
        "parameters": f"{params:,}",
        "zero_shot": percent(pair.accuracy("zero_shot")[row]),
        "tuned": percent(pair.accuracy("tuned")[row]),
        "finetuned": percent(None if finetuned is None else finetuned[row]),
    }
    for place, (name, value) in zip(st.columns([5, 6, 5, 5, 5], gap="small"), facts.items()):
        place.caption(name)
        place.markdown(f"**{value}**")
    rows = []
    for metric in METRICS:
        if metric in ("snnet", "random"):
            continue
        scores = pair.scores(metric)
        place, of = rank_in_bucket(scores, picked.bucket, row)
        known = bucket >= 0 and not np.isnan(scores[row])
        rows.append(
            {
                "score": METHODS[metric],
                "value": scores[row],
                "rank in its bucket": f"{place} of {of}" if known else "–",
            }
        )
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={"value": st.column_config.NumberColumn(format="%.4g")},
    )


def _drawing(name: str) -> tuple[str, links.Cell | None]:
    """The map's key and the cell that it is drawn with.

    A click moves the ring in the browser alone, so the drawing stays as it was; it is a new one
    where the browser's has another cell ringed than the one that is open.
    """
    cell = remembered("cell", None)
    times, drawn_with, ringed = st.session_state.get("map", (0, None, None))
    if ringed != cell or f"{name}:{times}" not in st.session_state:
        times, drawn_with = times + 1, cell
        st.session_state["map"] = times, drawn_with, cell
    return f"{name}:{times}", drawn_with


def _open_cell(key: str) -> None:
    """Follow a click; a second one on the same cell closes it."""
    points = st.session_state[key]["selection"]["points"]
    cell = tuple(int(n) for n in points[-1]["customdata"][:2]) if points else None
    st.session_state["map"] = *st.session_state["map"][:2], cell
    keep("cell", cell)


@st.fragment
@says_errors
def _map(pair: Pair, spec: SelectionSpec, key: str, drawn_with: links.Cell | None) -> None:
    """The map and what stands beside it: all that a click draws again."""
    metric = spec.metric
    picked = choose(pair, spec)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.subheader(f"{figures.SCORE_NAMES[metric]} of (i, j), lower is better")
        st.plotly_chart(
            heatmap.score_heatmap(pair, picked, metric, drawn_with),
            config=figures.CONFIG,
            key=key,
            on_select=lambda: _open_cell(key),
            selection_mode="points",
        )
        outside = int((picked.bucket[pair.in_space] < 0).sum())
        note = f" – marks the {outside} outside the anchors' costs." if outside else ""
        st.caption(
            f"Numbers are buckets of cost, from the cheap anchor's to the costly one's.{note} "
            f"Framed: chosen with τ = {spec.tau:g} ({spec.tau_mode}); change it on **Stitches**. "
            "A click on a cell opens its stitch."
        )
    with right:
        row = _chosen_row(pair)
        if row is not None:
            _stitch(pair, picked, row)
        else:
            _how_to_read(metric)
        _best(pair, metric)


@says_errors
def page() -> None:
    """The page."""
    heading("Stitch scores")
    found = scored_document()
    left, right = st.columns([3, 2], gap="large")
    with left:
        pair = pick_pair(found)
    with right:
        metric = pick_metric()
    spec = selection().model_copy(update={"metric": metric})
    name = f"map:{study().name}:{pair.name}:{spec.model_dump_json()}"
    _map(pair, spec, *_drawing(name))


page()
