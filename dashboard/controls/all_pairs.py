"""The trade-off of every pair at once: one front over all that is chosen."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts.front import front_chart
from dashboard.controls.budget import budget_over_all
from dashboard.controls.downloads import add_button, selection_downloads
from dashboard.controls.figure_settings import figure_config
from dashboard.controls.heading import pick_tier, says_errors
from dashboard.controls.jobs import start_button
from dashboard.controls.selection import selection_controls
from dashboard.model.deployment import joined
from dashboard.model.tradeoff import Floats
from dashboard.session.accuracies import accuracy_at, first_tier
from dashboard.session.resources import store, study
from dashboard.tables.columns import number_column, score_columns, table_height, tier_columns
from dashboard.text.markup import plain
from dashboard.text.quantities import QUANTITIES
from klas.jobs.kinds import RunJob
from klas.results.costs import COSTS, CostName, Costs, costs_of
from klas.results.formatting import METHODS
from klas.results.notes import why_no_cka
from klas.results.pair import Choice, Document, FrontPoint, Pair, front, pairs_of
from klas.results.selections import choose, reasons_for_nothing
from klas.results.timings import timings_of
from klas.study import Metric, Tier

FRONT = "on the front"


def all_pairs(document: Document, metric: Metric) -> None:
    """The page for every pair; those without a score are named and left out."""
    scored: list[Pair] = []
    unscored: list[Pair] = []
    for pair in pairs_of(document):
        (scored if pair.is_scored(metric) else unscored).append(pair)
    if unscored:
        say_unscored(unscored, metric)
    if scored:
        _choice(scored, metric, *all_costs(scored), start=first_tier(scored), complete=not unscored)


def all_costs(pairs: Sequence[Pair]) -> tuple[dict[CostName, Costs], str | None]:
    """The axes of cost that are known of all these pairs, and the machine of the times.

    Latency is one of them where every pair was timed on the same machine: of several on the one
    that timed the first pair last.
    """
    each = [{t.where: t for t in timings_of(store(), study(), pair)} for pair in pairs]
    shared = [where for where in each[0] if all(where in times for times in each)]
    machine = shared[0] if shared else None
    names = [name for name in COSTS if name != "latency" or machine is not None]
    along = {
        name: [
            costs_of(p, name, times[machine] if machine else None) for p, times in zip(pairs, each)
        ]
        for name in names
    }
    document = pairs[0].document
    return {name: joined(document, costs) for name, costs in along.items()}, machine


@st.fragment
@says_errors
def _choice(
    pairs: Sequence[Pair],
    metric: Metric,
    by_cost: Mapping[CostName, Costs],
    where: str | None,
    *,
    start: Tier,
    complete: bool,
) -> None:
    """All that a control on this page draws again.

    Args:
        by_cost, where: the pairs' costs, as :func:`all_costs` has them.
        start: the tier until the reader chooses one.
        complete: whether these are all pairs of the study.
    """
    spec, place = selection_controls(metric)
    picked = [(p, choose(p, spec).chosen) for p in pairs]
    with place:
        tier = pick_tier(start)
    shown = [
        Choice(pair=p, chosen=chosen, accuracy=accuracy_at(p, chosen, tier)) for p, chosen in picked
    ]
    points = front(shown)
    count = sum(int(chosen.sum()) for _, chosen in picked)
    stitches = sum(p.stitch is not None for p in points)
    st.subheader(f"{count} stitches of {len(pairs)} pairs chosen, {stitches} on the front")
    st.caption(
        "Every pair has its own buckets, because a score compares the stitches of one pair only. "
        "The front spans all pairs and the anchors: the best accuracy for every cost."
    )
    st.plotly_chart(
        front_chart(shown, points, tier), config=figure_config(), alt="Accuracy against cost"
    )
    if reasons := reasons_for_nothing(pairs, spec):
        st.info(plain(f"Nothing is chosen: {'; '.join(reasons)}."), icon=":material/info:")
    unmeasured = [c.pair for c in shown if c.pair.unmeasured(c.accuracy, c.chosen).any()]
    if unmeasured and tier == "finetuned":
        st.info(
            f"Not trained jointly yet: {_names(unmeasured)}. To train a pair, choose it above.",
            icon=":material/info:",
        )
    elif unmeasured:
        st.info(
            f"Not measured at tier {tier} yet: {_names(unmeasured)}. Run the stage **{tier}** on "
            "the **Study** page.",
            icon=":material/info:",
        )
    budget_over_all(shown, by_cost, metric, tier, where)
    st.subheader("Chosen stitches")
    _table(shown, metric, points, tier)
    add_button(picked, limited=False)
    if not complete:
        st.caption("The file and the command appear once all scores are computed.")
        return
    selection_downloads(picked, spec, tier, f"stitches-{study().name.replace(' ', '-')}.json")


def say_unscored(pairs: Sequence[Pair], metric: Metric) -> None:
    """Which pairs a score cannot choose from yet, and the stage that computes it."""
    begun = all(pair.raw["theta"] is not None for pair in pairs)
    what = METHODS[metric] if begun else "Scores"
    if metric == "cka" and (reason := why_no_cka(pairs[0].document)):
        st.info(f"{reason}.", icon=":material/info:")
        return
    st.info(
        f"{what} not computed yet: {_names(pairs)}. Run the stage **scores**.",
        icon=":material/info:",
    )
    start_button("Compute up to scores", study(), RunJob(until="scores"))


def _names(pairs: Sequence[Pair]) -> str:
    return ", ".join(plain(pair.name) for pair in pairs)


def _table(choices: list[Choice], metric: Metric, points: list[FrontPoint], tier: str) -> None:
    on_front = {(p.name, p.stitch) for p in points}
    unit, measured = choices[0].pair.unit, f"{tier} (%)"
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
                measured: 100 * c.accuracy[row],
                FRONT: "✓" if (c.pair.name, tuple(c.pair.stitches[row])) in on_front else "–",
            }
            for k, row in enumerate(chosen)
        ]
    rows.sort(key=lambda row: (np.isnan(row[measured]), row[FRONT] != "✓", row[unit.name]))
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=table_height(len(rows)),
        placeholder="–",
        column_config={
            unit.name: number_column(_of_all(choices, lambda pair: pair.macs / unit.scale)),
            **{
                QUANTITIES[m].label: number_column(
                    _of_all(choices, partial(Pair.scores, metric=m)), QUANTITIES[m].explanation
                )
                for m in dict.fromkeys((metric, "kl"))
            },
            **tier_columns(choices[0].pair.task.metric),
            FRONT: st.column_config.TextColumn(
                alignment="center",
                help="✓: no chosen stitch of any pair, and no anchor, is as accurate and cheaper.",
            ),
        },
    )


def _of_all(choices: Sequence[Choice], values: Callable[[Pair], Floats]) -> Floats:
    """A figure of all that may be chosen: they decide the digits, so τ doesn't."""
    return np.concatenate([values(c.pair)[c.pair.in_space] for c in choices])
