"""The tables of a study's anchors and of its pairs."""

import pandas as pd
import streamlit as st

from dashboard.tables.columns import deployed_columns, deployed_help
from dashboard.text.markup import plain
from klas.results.anchor_notes import DEPLOYED, anchor_notes, sample_size
from klas.results.pair import Document, cost_unit, number, pairs_of
from klas.tasks.task import task_named

THETA = "Θ (nats)"


def anchors_table(document: Document) -> None:
    """A row for every anchor: its size, its cost, its accuracy."""
    unit, task = cost_unit(document), task_named(document["task"])
    accuracy = task.metric.axis
    fused = any("deployed" in a for a in document["anchors"])
    texts = task.samples == "texts"
    one, size = ("token", "tokens") if texts else ("image", "pixels")
    what = "Of a sample." if texts else "Height and width of its images."
    rows = [
        {
            "anchor": a["name"],
            size: sample_size(a),
            "blocks": a["blocks"],
            unit.name: a["macs"] / unit.scale,
            "parameters": a["params"],
            **(deployed_columns(a, unit) if fused else {}),
            accuracy: None if a["accuracy"] is None else 100 * a["accuracy"],
        }
        for a in document["anchors"]
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            unit.name: st.column_config.NumberColumn(
                format="%.3g", help=f"Multiply–accumulates of one {one}; papers call them FLOPs."
            ),
            "parameters": st.column_config.NumberColumn(format="localized"),
            size: st.column_config.TextColumn(help=what),
            **deployed_help(unit),
            accuracy: st.column_config.NumberColumn(
                format="%.1f",
                help=f"On {document['data']['val']['samples']:,} validation {task.samples}, the "
                "same as for the accuracies of the stitches.",
            ),
        },
    )
    for note in anchor_notes(document["anchors"]):
        st.caption(plain(note) if note != DEPLOYED else note)


def pairs_table(document: Document) -> None:
    """A row for every pair, by how nearly its anchors agree; and how to read that."""
    task = task_named(document["task"])
    rows = []
    for pair in pairs_of(document):
        cheap, costly = pair.cheap_and_costly
        headless = cheap["accuracy"] is None or costly["accuracy"] is None
        rows.append(
            {
                "source → target": pair.name,
                THETA: pair.raw["theta_output"],
                "points between": None
                if headless
                else 100 * (number(costly["accuracy"]) - number(cheap["accuracy"])),
                "cost ratio": costly["macs"] / cheap["macs"],
                "stitches": int(pair.in_space.sum()),
            }
        )
    st.dataframe(
        pd.DataFrame(rows).sort_values(THETA),
        hide_index=True,
        column_config={
            THETA: st.column_config.NumberColumn(
                format="%.3f",
                help=f"Θ(f, g): the mean over validation {task.samples} of the KL divergence "
                "between the predictions of the source and of the target, in nats. 0: they "
                "predict the same.",
            ),
            "points between": st.column_config.NumberColumn(
                format="%+.1f",
                help=f"How far the {task.metric.label} of the costly anchor is above that of the "
                "cheap one.",
            ),
            "cost ratio": st.column_config.NumberColumn(
                format="%.3g ×", help="MACs of the costly anchor over those of the cheap one."
            ),
            "stitches": st.column_config.NumberColumn(help="Candidates that a score may choose."),
        },
    )
    st.caption(
        "A pair is worth stitching if its networks nearly agree (low Θ) and yet differ in accuracy "
        "and cost. If the costly anchor is no better, there is nothing to gain."
    )
