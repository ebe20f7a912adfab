"""The table of one stitch's scores, and its rank by each among the stitches of its bucket."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.model.ranks import rank_in_bucket
from dashboard.text.quantities import SCORES
from klas.results.formatting import METHODS
from klas.results.pair import Pair
from klas.selection.buckets import Selection

FORMULAS = {
    "kl": "Ω / Σ",
    "theta": "Θ(Pᵢ, Pⱼ)",
    "theta_ce": "√(Ω·CE)",
    "cka": "1 − CKA(Aᵢ, Aⱼ)",
    "mse": "mean (p − q)²",
    "ce": "mean −Σ p log q",
    "dm": "‖T·Aᵢ − Aⱼ‖² / ‖Aⱼ − mean‖²",
}


def stitch_scores(pair: Pair, picked: Selection, row: int) -> None:
    """A row for every score.

    Args:
        picked: what gives the buckets of the pair.
        row: the stitch, in the pair's arrays.
    """
    rows = []
    for metric in SCORES:
        if metric == "random":
            continue
        scores = pair.scores(metric)
        place, of = rank_in_bucket(scores, picked.bucket, row)
        known = picked.bucket[row] >= 0 and not np.isnan(scores[row])
        rows.append(
            {
                "score": METHODS[metric],
                "value": scores[row],
                "rank in its bucket": f"{place} of {of}" if known else "–",
                "formula": FORMULAS[metric],
            }
        )
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "score": st.column_config.TextColumn(
                help="Choose one under **Show** to see its map and read what it means."
            ),
            "value": st.column_config.NumberColumn(format="%.4g", help="Lower is better."),
            "rank in its bucket": st.column_config.TextColumn(
                help="Its place among the stitches of about the same cost; equals share one."
            ),
            "formula": st.column_config.TextColumn(
                help="P: a probe's predictions; A: activations; p, q: probabilities of the "
                "source's and the target's probe; CE: their cross-entropy; T: the stitch layer; "
                "Θ: mean KL(P ‖ Q) in nats, how far apart two probes' predictions are; "
                "Ω = Θ(Pᵢ, Pⱼ): the distance across the stitch; Σ = Θ(Pⱼ, Pⱼ₊₁), both of the "
                "target: the capacity of the block that follows."
            ),
        },
    )
