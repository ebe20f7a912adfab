"""One stitch: its network, costs, accuracies, scores and ranks, and what can be done with it."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import streamlit as st

from dashboard.charts.diagram import diagram
from dashboard.controls.classes import classes
from dashboard.controls.downloads import list_button
from dashboard.controls.export import export_button
from dashboard.controls.jobs import start_button
from dashboard.model.exports import exportable_stitch
from dashboard.model.tradeoff import Floats
from dashboard.session.accuracies import training_at_hand
from dashboard.session.resources import study
from dashboard.tables.columns import BUCKET_HELP
from dashboard.tables.stitch_scores import stitch_scores
from dashboard.text.markup import plain
from dashboard.text.quantities import Quantity, quantity
from klas.jobs.kinds import FinetuneJob, RunJob
from klas.results.anchor_notes import DEPLOYED
from klas.results.formatting import deployed, percent
from klas.results.pair import Pair
from klas.selection.buckets import Selection
from klas.study import SelectionSpec, Tier


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
    accuracy = _figures(pair, picked, row, trained)
    if pair.diverged[row]:
        st.caption("Its tuning diverged, so it has no accuracy at **tuned**.")
    with st.container(horizontal=True):
        list_button(pair, row, place="card")
        training = None if trained is None else training_at_hand(pair, picked.chosen)
        exportable = exportable_stitch(pair, row, training)
        export_button(exportable, pair.unit, place="card")
        _measure_buttons(pair, spec, picked, row, accuracy)
    stitch_scores(pair, picked, row)
    classes(pair, row, exportable)


def _figures(pair: Pair, picked: Selection, row: int, trained: Floats | None) -> dict[Tier, float]:
    """Shows costs, bucket and accuracies.

    Returns:
        the accuracy at every tier, NaN where it is not measured.
    """
    candidate = pair.raw["candidates"][row]
    accuracy: dict[Tier, float] = {
        "zero_shot": float(pair.accuracy("zero_shot")[row]),
        "tuned": float(pair.accuracy("tuned")[row]),
        "finetuned": float("nan") if trained is None else float(trained[row]),
    }
    bucket, last = int(picked.bucket[row]), len(picked.edges) - 2
    facts: dict[str, tuple[str, Quantity | None]] = {
        pair.unit.name: (
            ("≥ " if "uncounted" in candidate else "") + f"{pair.macs[row] / pair.unit.scale:.4g}",
            quantity("macs", pair),
        ),
        "parameters": (f"{candidate['params']:,}", quantity("params", pair)),
        "bucket": ("outside" if bucket < 0 else f"{bucket} of 0 to {last}", None),
        **{tier: (percent(value), quantity(tier, pair)) for tier, value in accuracy.items()},
    }
    with st.container(key="facts"):  # short enough to stand beside each other anywhere
        places = [*st.columns(3, gap="small"), *st.columns(3, gap="small")]
    for place, (name, (value, shown)) in zip(places, facts.items()):
        place.caption(name, help=BUCKET_HELP if shown is None else shown.explanation)
        place.markdown(f"**{value}**")
    if "deployed" in candidate:
        of_macs, of_params = deployed(candidate, pair.unit)
        st.caption(
            f"Deployed, with its parts fused: **{of_macs}** {pair.unit.name}, **{of_params}** "
            "parameters.",
            help=DEPLOYED,
        )
    if "uncounted" in candidate:
        names = plain(", ".join(candidate["uncounted"]))
        st.caption(f"MACs are a lower bound, because there is no formula for {names}.")
    return accuracy


def _measure_buttons(
    pair: Pair, spec: SelectionSpec, picked: Selection, row: int, accuracy: Mapping[Tier, float]
) -> None:
    """A button for every accuracy that is missing and that a job can measure."""
    stages: tuple[Literal["zero_shot", "tuned"], ...] = ("zero_shot", "tuned")
    missing = [
        stage
        for stage in stages
        if np.isnan(accuracy[stage]) and not (stage == "tuned" and pair.diverged[row])
    ]
    for stage in missing:
        start_button(
            f"Measure {stage}",
            study(),
            RunJob(until=stage),
            kind="secondary",
            help="Measures every stitch of the study at this tier.",
        )
    if not missing and picked.chosen[row] and np.isnan(accuracy["finetuned"]):
        start_button(
            "Train jointly",
            study().model_copy(update={"selection": spec}),
            FinetuneJob(pair=pair.names, metrics=(spec.metric, "snnet")),
            kind="secondary",
            help="Trains all chosen stitches of this pair, SN-Net's set and the anchors; "
            f"{study().finetuning.steps:,} steps each.",
        )
