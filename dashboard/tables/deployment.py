"""The table of what a budget pays."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.model.deployment import Deployable
from klas.results.costs import Costs
from klas.results.formatting import METHODS
from klas.selection.budget import Pick
from klas.tasks.metric import AccuracyMetric


def alternatives_table(
    costs: Costs, deployable: Deployable, pick: Pick, metric: AccuracyMetric, *, all_pairs: bool
) -> None:
    """The network to deploy between its neighbours on the front.

    Args:
        metric: what an accuracy is.
        all_pairs: whether the networks are of several pairs, so that each row names its own.
    """
    unit, best = costs.unit, deployable.networks[pick.best]
    steps = (
        ("next cheaper", pick.cheaper),
        ("within the budget", pick.best),
        ("next better", pick.costlier),
    )
    chosen = [(step, deployable.networks[k]) for step, k in steps if k is not None]
    rows: list[dict[str, Any]] = []
    for step, network in chosen:
        row: dict[str, Any] = {"": step, "network": network.name}
        if all_pairs:
            row["pair"] = None if network.pair is None else network.pair.name
        elif any(n.method for _, n in chosen):
            row["trained with"] = network.method and METHODS[network.method]
        row |= {
            unit.name: network.cost / unit.scale,
            metric.axis: 100 * network.accuracy,
            "points": 100 * (network.accuracy - best.accuracy),
            "cost": network.cost / best.cost if best.cost else None,
        }
        rows.append(row)
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        placeholder="–",
        column_config={
            unit.name: st.column_config.NumberColumn(format="%.4g"),
            "trained with": st.column_config.TextColumn(
                help="Whose choice was trained jointly: in another training the same stitch has "
                "other weights."
            ),
            metric.axis: st.column_config.NumberColumn(format="%.1f"),
            "points": st.column_config.NumberColumn(format="%+.1f"),
            "cost": st.column_config.NumberColumn(format="%.2f ×"),
        },
    )
