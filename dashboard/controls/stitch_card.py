"""One stitch opened: its network, costs, accuracies, scores and ranks, and what can be done."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from dashboard.charts.diagram import diagram
from dashboard.controls.downloads import list_button
from dashboard.controls.jobs import start_button
from dashboard.model.tradeoff import Floats
from dashboard.session.resources import study
from dashboard.tables.columns import BUCKET
from dashboard.text.markdown import plain
from dashboard.text.quantities import QUANTITIES, SCORES
from klas.jobs.kinds import FinetuneJob, RunJob
from klas.results.formatting import METHODS, percent
from klas.results.pair import Pair
from klas.selection.buckets import Selection
from klas.study import SelectionSpec, Tier

FORMULAS = {
    "kl": "Ω / Σ",
    "theta": "Θ(Pᵢ, Pⱼ)",
    "cka": "1 − CKA(Aᵢ, Aⱼ)",
    "mse": "mean (p − q)²",
    "ce": "mean −Σ p log q",
    "dm": "‖T·Aᵢ − Aⱼ‖² / ‖Aⱼ − mean‖²",
}


def stitch_card(
    pair: Pair, spec: SelectionSpec, picked: Selection, row: int, trained: Floats | None
) -> None:
    """Everything that is known of one stitch.

    Args:
        picked: what ``spec`` chooses of the pair.
        row: the stitch, in the pair's arrays.
        trained: (N,) accuracies of the joint training of what is chosen, if there was one.
    """
    i, j = pair.stitches[row]
    st.subheader(f"Stitch {i} → {j}")
    marks = [
        "chosen" if picked.chosen[row] else "not chosen",
        *(["in SN-Net's set"] if pair.snnet[row] else []),
    ]
    st.markdown(
        f"The first **{i}** of {pair.source['blocks']} blocks of {plain(pair.source['name'])}, a "
        f"stitch layer, and {plain(pair.target['name'])} after block **{j}** of "
        f"{pair.target['blocks']}: {', '.join(marks)}."
    )
    st.html(diagram(pair, row))
    top1 = _figures(pair, picked, row, trained)
    with st.container(horizontal=True):
        list_button(pair, row, place="card")
        _measure_buttons(pair, spec, picked, row, top1)
    _scores(pair, picked, row)


def rank_in_bucket(
    scores: NDArray[np.float64], bucket: NDArray[np.int64], row: int
) -> tuple[int, int]:
    """The place of a candidate among those of its bucket, and how many they are; equals share."""
    rivals = scores[bucket == bucket[row]]
    return 1 + int((rivals < scores[row]).sum()), len(rivals)


def _figures(pair: Pair, picked: Selection, row: int, trained: Floats | None) -> dict[Tier, float]:
    """Shows costs, bucket and accuracies.

    Returns:
        the accuracy at every tier, NaN where it is not measured.
    """
    params = pair.raw["candidates"][row]["params"]
    top1: dict[Tier, float] = {
        "zero_shot": float(pair.accuracy("zero_shot")[row]),
        "tuned": float(pair.accuracy("tuned")[row]),
        "finetuned": float("nan") if trained is None else float(trained[row]),
    }
    bucket, last = int(picked.bucket[row]), len(picked.edges) - 2
    facts = {
        pair.unit.name: (f"{pair.macs[row] / pair.unit.scale:.4g}", QUANTITIES["macs"].words),
        "parameters": (f"{params:,}", QUANTITIES["params"].words),
        "bucket": ("outside" if bucket < 0 else f"{bucket} of 0 to {last}", BUCKET),
        "zero_shot": (percent(top1["zero_shot"]), QUANTITIES["zero_shot"].words),
        "tuned": (percent(top1["tuned"]), QUANTITIES["tuned"].words),
        "finetuned": (percent(top1["finetuned"]), QUANTITIES["finetuned"].words),
    }
    with st.container(key="facts"):  # short enough to stand beside each other anywhere
        places = [*st.columns(3, gap="small"), *st.columns(3, gap="small")]
    for place, (name, (value, words)) in zip(places, facts.items()):
        place.caption(name, help=words)
        place.markdown(f"**{value}**")
    return top1


def _measure_buttons(
    pair: Pair, spec: SelectionSpec, picked: Selection, row: int, top1: Mapping[Tier, float]
) -> None:
    """A button for every accuracy that is missing and that a job can measure."""
    stages: tuple[Literal["zero_shot", "tuned"], ...] = ("zero_shot", "tuned")
    missing = [stage for stage in stages if np.isnan(top1[stage])]
    for stage in missing:
        start_button(
            f"Measure {stage}",
            study(),
            RunJob(until=stage),
            kind="secondary",
            help="Measures every stitch of the study at this tier.",
        )
    if not missing and picked.chosen[row] and np.isnan(top1["finetuned"]):
        start_button(
            "Train jointly",
            study().model_copy(update={"selection": spec}),
            FinetuneJob(pair=pair.names, metrics=(spec.metric, "snnet")),
            kind="secondary",
            help="Trains all chosen stitches of this pair, SN-Net's set and the anchors; "
            f"{study().finetuning.steps:,} steps each.",
        )


def _scores(pair: Pair, picked: Selection, row: int) -> None:
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
                "source's and the target's probe; T: the stitch layer; Θ: mean KL(P ‖ Q) in nats, "
                "how far apart two probes' predictions are; Ω = Θ(Pᵢ, Pⱼ): the distance across "
                "the stitch; Σ = Θ(Pⱼ, Pⱼ₊₁), both of the target: the capacity of the block that "
                "follows."
            ),
        },
    )
