"""The trade-off's tables and sentences: the areas, what is chosen, who wins by how much."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.model.tradeoff import Bits, Curve, Floats, Sheet, steps
from dashboard.tables.columns import BUCKET, ROWS, TIER_COLUMNS, even, height, score_columns
from dashboard.text.quantities import QUANTITIES
from klas.results.costs import Costs, above_anchors
from klas.results.formatting import METHODS, percent
from klas.results.pair import Pair, method_areas, number
from klas.selection.buckets import Selection
from klas.selection.curves import gain, saving
from klas.study import Metric, Tier

METHOD = (
    "What chose. KLAS (Γ): by Γ = Ω / Σ, the distance across the stitch over the capacity of the "
    "block that follows. Ω = Θ(Pᵢ of the source, Pⱼ of the target) and Σ = Θ(Pⱼ, Pⱼ₊₁), both of "
    "the target; Θ(P, Q) = mean KL(P ‖ Q) says how many nats apart two probes' predictions are. "
    "Ω alone: without Σ. Every other score takes in each bucket as many stitches as the one that "
    "is chosen above; SN-Net's set is taken as it is."
)
"""What the methods' names say."""


def verdict(pair: Pair, costs: Costs, ours: Curve, theirs: Curve) -> list[str]:
    """At equal cost so many points, at equal accuracy so many times cheaper, as sentences."""
    name, other = METHODS[ours.metric], METHODS[theirs.metric]
    mine, rival = steps(costs, pair, ours), steps(costs, pair, theirs)
    ends = sorted(costs.anchors.values())
    won = gain(mine, rival, ends[0], ends[-1]) if len(ends) > 1 else None
    what = {"macs": "MACs", "params": "parameters", "latency": "time"}[costs.name]
    if won is not None and won.mean == 0 and won.greatest == 0:
        return [f"At equal cost {name} and {other} reach the **same** accuracy."]
    said = []
    if won is not None and f"{100 * won.mean:z.2f}" == "0.00":
        best = f"; at best {name} is {100 * won.greatest:+.2f} points above"
        said.append(
            f"At equal cost {name} and {other} reach on average the **same** accuracy"
            f"{best if 100 * won.greatest >= 0.005 else ''}."
        )
    elif won is not None:
        said.append(
            f"At equal cost {name} is on average **{100 * won.mean:+.2f} points** against "
            f"{other}, at best {100 * won.greatest:+z.2f}."
        )
    spared = saving(mine, rival)
    less = f"{'less' if costs.name == 'latency' else 'fewer'} {what}"
    if spared is not None and f"{spared.mean:.2f}" == "1.00":
        best = f"; at best {name} needs {spared.greatest:.2f}× {less}"
        said.append(
            f"At equal accuracy both need on average the **same** {what}"
            f"{best if spared.greatest >= 1.005 else ''}."
        )
    elif spared is not None and spared.mean >= 1:
        said.append(
            f"At equal accuracy it needs on average **{spared.mean:.2f}× {less}**, at best "
            f"{spared.greatest:.2f}×."
        )
    elif spared is not None:
        said.append(
            f"At equal accuracy {other} takes on average **{spared.mean:.2f}×** its {what}, at "
            f"most {spared.greatest:.2f}×."
        )
    return said


def above(pair: Pair, costs: Costs, ours: Curve) -> str:
    """How many of the chosen beat the pair's anchors."""
    better = int(above_anchors(costs, pair, ours.chosen, ours.accuracy).sum())
    what = {"macs": "at most their MACs", "params": "at most as many parameters"}
    why = "" if better else _why_none(pair, ours)
    return (
        f"**{better} of {int(ours.chosen.sum())}** chosen stitches are better than each of this "
        f"pair's anchors of {what.get(costs.name, 'at most their latency')}.{why}"
    )


def _why_none(pair: Pair, ours: Curve) -> str:
    """Why areas and gains are 0, where they are."""
    cheap, costly = pair.cheap_and_costly
    top1, floor = ours.accuracy[ours.chosen], number(cheap["accuracy"])
    if len(pair.measured_anchors) < 2 or not top1.size or top1.max() > floor:
        return ""
    if cheap["macs"] == costly["macs"] or floor >= number(costly["accuracy"]):
        return ""  # then there are no areas
    return (
        f" None reaches above the cheap anchor's {percent(cheap['accuracy'])}, so the envelope is "
        "the anchors' alone and **auc** is 0."
    )


def areas_table(pair: Pair, drawn: Sequence[Curve]) -> None:
    """Every drawn method's areas over MACs."""
    rows: list[dict[str, object]] = []
    reasons: dict[str, str] = {}
    for curve in drawn:
        found = method_areas(pair, curve.chosen, curve.accuracy)
        rows.append(
            {
                "method": METHODS[curve.metric],
                "stitches": int(curve.chosen.sum()),
                "mean top-1 (%)": None if found.mean_top1 is None else 100 * found.mean_top1,
                "auc": found.auc,
                "auc_stitches": found.auc_stitches,
            }
        )
        if found.reason:
            reasons.setdefault(found.reason, METHODS[curve.metric])
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "method": st.column_config.TextColumn(help=METHOD),
            "mean top-1 (%)": st.column_config.NumberColumn(
                format="%.1f", help="Mean accuracy of the method's chosen stitches."
            ),
            "auc": st.column_config.NumberColumn(
                format="%.3f",
                help="Area under the envelope of stitches and anchors over MACs: 0 is the cheap "
                "anchor throughout, 1 the costly one. Not the poster's normalisation.",
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
        **score_columns(pair, metric, rows),
        "SN-Net's too": np.where(pair.snnet[rows], "✓", "–"),
    }
    if sheet.timings is not None:
        table["ms"] = sheet.timings.median[rows]
    for tier, values in accuracies.items():
        if values is not None:
            table[f"{tier} (%)"] = 100 * values[rows]
    able = picked.bucket >= 0  # all that τ may take: the digits hang on these, so τ leaves them
    times = np.array([]) if sheet.timings is None else sheet.timings.median[able]
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        height=height(len(rows)),
        column_config={
            pair.unit.name: even(pair.macs[able] / pair.unit.scale),
            **{
                QUANTITIES[m].label: even(pair.scores(m)[able], QUANTITIES[m].words)
                for m in (metric, "kl")
            },
            **TIER_COLUMNS,
            "bucket": st.column_config.NumberColumn(help=BUCKET),
            "SN-Net's too": st.column_config.TextColumn(
                alignment="center", help="Whether SN-Net's own set has this stitch."
            ),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "ms": even(times, "Median time of a forward pass of one image."),
        },
    )
    if len(rows) > ROWS:
        st.caption(f"{len(rows)} rows: the table scrolls.")
