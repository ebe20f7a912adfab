"""The trade-off of every pair at once: one front over all that is chosen."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import pictures
from dashboard.budget import best_tier
from dashboard.markdown import plain
from dashboard.progress import start_button
from dashboard.selection_controls import selection_controls
from dashboard.state import pick_tier, says_errors, study
from dashboard.take_away import accuracy_at, add_button, take_away
from dashboard.tradeoff_figures import front_chart
from dashboard.tradeoff_tables import (
    COLUMN_THREE,
    SCORE_COLUMNS,
    TABLE,
    TIER_COLUMNS,
    score_columns,
)
from klas.report import METHODS
from klas.results import Choice, Document, FrontPoint, Pair, choose, front, pairs_of
from klas.study import TIERS, Metric


def all_pairs(found: Document, metric: Metric) -> None:
    """The page for every pair; those without a score are named and left out."""
    scored: list[Pair] = []
    unscored: list[Pair] = []
    for pair in pairs_of(found):
        (scored if pair.is_scored(metric) else unscored).append(pair)
    if unscored:
        say_unscored(unscored, metric)
    if scored:
        _choice(scored, metric, complete=not unscored)


@st.fragment
@says_errors
def _choice(pairs: Sequence[Pair], metric: Metric, *, complete: bool) -> None:
    """All that hangs on a control.

    Args:
        complete: whether these are all pairs of the study.
    """
    spec, place = selection_controls(metric)
    picked = [(p, choose(p, spec).chosen) for p in pairs]
    by_tier = {
        tier: [
            Choice(pair=p, chosen=chosen, accuracy=accuracy_at(p, chosen, tier))
            for p, chosen in picked
        ]
        for tier in TIERS
    }
    every = {tier: np.concatenate([c.accuracy for c in by_tier[tier]]) for tier in TIERS}
    with place:
        tier = pick_tier(best_tier(every) or TIERS[0])
    shown = by_tier[tier]
    points = front(shown)
    count = sum(int(chosen.sum()) for _, chosen in picked)
    stitches = sum(p.stitch is not None for p in points)
    st.subheader(f"{count} stitches of {len(pairs)} pairs chosen, {stitches} on the front")
    st.caption(
        "Every pair has its own buckets, because a score compares stitches of one pair. "
        "The front is over all of them and the anchors: the best accuracy for every cost."
    )
    st.plotly_chart(
        front_chart(shown, points, tier), config=pictures.config(), alt="Accuracy against cost"
    )
    unmeasured = [c.pair for c in shown if not np.isfinite(c.accuracy[c.chosen]).all()]
    if unmeasured and tier == "finetuned":
        st.info(
            f"Not trained jointly yet: {_names(unmeasured)}. Choose the pair above to train it.",
            icon=":material/info:",
        )
    elif unmeasured:
        st.info(
            f"Not measured at tier {tier} yet: {_names(unmeasured)}. Run the stage **{tier}** on "
            "the **Study** page.",
            icon=":material/info:",
        )
    _table(shown, metric, points, tier)
    add_button(picked, limited=False)
    if not complete:
        st.caption("The file and the command are of all pairs: they come with the last scores.")
        return
    take_away(picked, spec, tier, f"stitches-{study().name.replace(' ', '-')}.json", [])


def say_unscored(pairs: Sequence[Pair], metric: Metric) -> None:
    """Which pairs a score cannot choose from yet, and the stage that computes it."""
    begun = all(pair.raw["theta"] is not None for pair in pairs)
    what = METHODS[metric] if begun else "Scores"
    st.info(
        f"{what} not computed yet: {_names(pairs)}. Run the stage **scores**.",
        icon=":material/info:",
    )
    start_button("Compute up to scores", study(), {"kind": "run", "until": "scores"})


def _names(pairs: Sequence[Pair]) -> str:
    return ", ".join(plain(pair.name) for pair in pairs)


def _table(choices: list[Choice], metric: Metric, points: list[FrontPoint], tier: str) -> None:
    on_front = {(p.name, p.stitch) for p in points}
    unit = choices[0].pair.unit
    rows = []
    for c in choices:
        chosen = np.flatnonzero(c.chosen)
        scores = score_columns(c.pair, metric, chosen)
        rows += [
            {
                "pair": c.pair.name,
                "stitch": "{} → {}".format(*c.pair.stitches[row]),
                unit.name: c.pair.macs[row] / unit.scale,
                **{name: values[k] for name, values in scores.items()},
                f"{tier} (%)": 100 * c.accuracy[row],
                "on the front": (c.pair.name, tuple(map(int, c.pair.stitches[row]))) in on_front,
            }
            for k, row in enumerate(chosen)
        ]
    st.dataframe(
        pd.DataFrame(sorted(rows, key=lambda row: row[unit.name])),
        hide_index=True,
        height=TABLE,
        column_config={
            unit.name: COLUMN_THREE,
            **SCORE_COLUMNS,
            **TIER_COLUMNS,
            "on the front": st.column_config.CheckboxColumn(
                help="Whether no network of any pair, and no anchor, is as accurate and cheaper."
            ),
        },
    )
