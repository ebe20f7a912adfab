"""The tables of the trade-off: the methods' areas, and what is chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from dashboard.model.tradeoff import Bits, Curve, Floats, Sheet
from dashboard.tables.columns import (
    BUCKET_HELP,
    ROWS,
    deployed_columns,
    deployed_help,
    number_column,
    score_columns,
    table_height,
    tier_columns,
)
from dashboard.text.quantities import QUANTITIES
from dashboard.text.tradeoff import METHOD_HELP
from klas.results.formatting import METHODS
from klas.results.pair import Pair, method_areas
from klas.selection.buckets import Selection
from klas.study import Metric, Tier


def areas_table(pair: Pair, drawn: Sequence[Curve]) -> None:
    """Every drawn method's areas over MACs."""
    rows: list[dict[str, object]] = []
    reasons: dict[str, str] = {}
    mean = f"mean {pair.task.metric.axis}"
    for curve in drawn:
        areas = method_areas(pair, curve.chosen, curve.accuracy)
        rows.append(
            {
                "method": METHODS[curve.metric],
                "stitches": int(curve.chosen.sum()),
                mean: None if areas.mean_top1 is None else 100 * areas.mean_top1,
                "auc": areas.auc,
                "auc_stitches": areas.auc_stitches,
            }
        )
        if areas.reason:
            reasons.setdefault(areas.reason, METHODS[curve.metric])
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "method": st.column_config.TextColumn(help=METHOD_HELP),
            mean: st.column_config.NumberColumn(
                format="%.1f", help="Mean accuracy of the method's chosen stitches."
            ),
            "auc": st.column_config.NumberColumn(
                format="%.3f",
                help="Area under the envelope of stitches and anchors over MACs: 0 is the cheap "
                "anchor throughout, 1 the costly one. This is not the poster's normalisation.",
            ),
            "auc_stitches": st.column_config.NumberColumn(
                format="%.3f",
                help="The same over the stitches alone; below 0 where they stay under the cheap "
                "anchor.",
            ),
        },
    )
    for reason, method in reasons.items():
        st.caption(f"{method}: no auc, because {reason}.")


def chosen_table(
    sheet: Sheet,
    metric: Metric,
    picked: Selection,
    chosen: Bits,
    accuracies: Mapping[Tier, Floats | None],
) -> None:
    """What is chosen, bucket by bucket."""
    pair = sheet.pair
    rows = np.flatnonzero(chosen)
    rows = rows[np.lexsort((pair.macs[rows], picked.bucket[rows]))]
    params = sheet.costs["params"].stitches[rows]
    table = {
        "stitch": ["{} → {}".format(*pair.stitches[r]) for r in rows],
        "bucket": picked.bucket[rows],
        pair.unit.name: pair.macs[rows] / pair.unit.scale,
        "parameters": params.astype(np.int64),
        **_deployed(pair, rows),
        **score_columns(pair, metric, rows),
        "SN-Net's too": np.where(pair.snnet[rows], "✓", "–"),
    }
    if sheet.timings is not None:
        table["ms"] = sheet.timings.median[rows]
    for tier, values in accuracies.items():
        if values is not None:
            table[f"{tier} (%)"] = 100 * values[rows]
    able = picked.bucket >= 0  # all that τ may take: they decide the digits, so τ doesn't
    times = np.array([]) if sheet.timings is None else sheet.timings.median[able]
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        height=table_height(len(rows)),
        column_config={
            pair.unit.name: number_column(pair.macs[able] / pair.unit.scale),
            **{
                QUANTITIES[m].label: number_column(pair.scores(m)[able], QUANTITIES[m].explanation)
                for m in (metric, "kl")
            },
            **tier_columns(pair.task.metric),
            "bucket": st.column_config.NumberColumn(help=BUCKET_HELP),
            "SN-Net's too": st.column_config.TextColumn(
                alignment="center", help="Whether SN-Net's own set has this stitch."
            ),
            "parameters": st.column_config.NumberColumn(format="localized"),
            **deployed_help(pair.unit),
            "ms": number_column(times, "Median time of a forward pass of one image."),
        },
    )
    if len(rows) > ROWS:
        st.caption(f"{len(rows)} rows: the table scrolls.")


def _deployed(pair: Pair, rows: NDArray[np.int64]) -> dict[str, list[Any]]:
    """The costs of the stitches' fused form, where an anchor of the pair has one."""
    entries = [pair.raw["candidates"][row] for row in rows]
    if not any("deployed" in entry for entry in entries):
        return {}
    each = [deployed_columns(entry, pair.unit) for entry in entries]
    return {name: [columns[name] for columns in each] for name in each[0]}
