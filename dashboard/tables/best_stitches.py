"""The table of a pair's best stitches by a score."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.tables.columns import number_column, tier_columns
from dashboard.text.quantities import QUANTITIES, quantity, stitch_values
from klas.results.pair import Pair
from klas.study import Metric

MOST_LISTED = 8


def best_stitches(pair: Pair, metric: Metric) -> None:
    """A row for each of the best by the score, whatever their cost."""
    rows = np.flatnonzero(pair.in_space)
    rows = rows[pair.scores(metric)[rows].argsort(kind="stable")[:MOST_LISTED]]
    scores = {
        quantity(name, pair).label: (stitch_values(pair, name)[rows], QUANTITIES[name].explanation)
        for name in dict.fromkeys((metric, "kl", "theta"))
    }
    macs = stitch_values(pair, "macs")[rows]
    st.dataframe(
        pd.DataFrame(
            {
                "stitch": ["{} → {}".format(*stitch) for stitch in pair.stitches[rows]],
                **{label: values for label, (values, _) in scores.items()},
                pair.unit.name: macs,
                "tuned (%)": stitch_values(pair, "tuned")[rows],
            }
        ),
        hide_index=True,
        column_config={
            **{
                label: number_column(values, explanation)
                for label, (values, explanation) in scores.items()
            },
            pair.unit.name: number_column(macs, QUANTITIES["macs"].explanation),
            **tier_columns(pair.task.metric),
        },
    )
