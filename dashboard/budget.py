"""The budget picker: type what a network may cost, get the one to deploy, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.cost_controls import NAMES
from dashboard.markdown import plain
from dashboard.state import bound, remembered, says_errors
from dashboard.take_away import list_button
from dashboard.tradeoff import Bits, Floats, Limits, Sheet
from klas.choice.buckets import Selection
from klas.choice.budget import Pick, pick_by_accuracy, pick_by_score
from klas.costs import Costs
from klas.report import METHODS, percent
from klas.results import Pair
from klas.study import TIERS, Metric, Tier

ANSWER = 290  # pixels that are kept free for the answer


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What there is to deploy of a pair, (M,) each: its anchors, then every candidate.

    Attributes:
        anchors: the names of the anchors.
        tier: the best tier at which stitches are measured; None if they are not at any.
    """

    pair: Pair
    anchors: Sequence[str]
    costs: Floats
    accuracies: Floats
    tier: Tier | None

    def row(self, network: int) -> int | None:
        """A network's row among the candidates; None of an anchor."""
        return network - len(self.anchors) if network >= len(self.anchors) else None

    def name(self, network: int) -> str:
        """What a network is called."""
        row = self.row(network)
        if row is None:
            return self.anchors[network]
        return "{} → {}".format(*self.pair.stitches[row])


def offer(pair: Pair, costs: Costs, accuracies: Mapping[Tier, Floats | None]) -> Offer:
    """A pair's networks with the accuracies of the best tier that was measured.

    Args:
        accuracies: (N,) by tier, NaN or None where not measured. A network's accuracy is never
            filled up from another tier.
    """
    tier = best_tier(accuracies)
    measured = np.full(len(pair.macs), np.nan) if tier is None else accuracies[tier]
    assert measured is not None
    anchors = [a for a in pair.measured_anchors if a["name"] in costs.anchors]
    return Offer(
        pair=pair,
        anchors=[a["name"] for a in anchors],
        costs=np.append([costs.anchors[a["name"]] for a in anchors], costs.stitches),
        accuracies=np.append([a["accuracy"] for a in anchors], measured),
        tier=tier,
    )


def best_tier(accuracies: Mapping[Tier, Floats | None]) -> Tier | None:
    """The last of the tiers at which anything is measured."""
    known = [
        tier
        for tier in TIERS
        if (values := accuracies[tier]) is not None and np.isfinite(values).any()
    ]
    return known[-1] if known else None


@st.fragment
@says_errors
def budget_picker(
    sheet: Sheet,
    costs: Costs,
    ends: Limits,
    metric: Metric,
    picked: Selection,
    accuracies: Mapping[Tier, Floats | None],
) -> None:
    """The field, and the answer beside it."""
    pair, unit = sheet.pair, costs.unit
    st.subheader("What to deploy within a budget")
    left, right = st.columns([1, 3], gap="large")
    with left:
        middle = round((ends.low + ends.high) / 2 / ends.step) * ends.step
        start = float(remembered("budget", middle))
        budget: float | None = st.number_input(
            f"Budget of {NAMES[costs.name]} ({unit.name})",
            min_value=0.0,
            step=ends.step,
            format="%.6g",
            **bound("budget", start, costs.name, pair.index),
        )
    with right, st.container(height=ANSWER, border=False):
        found = offer(pair, costs, accuracies)
        if budget is None:
            st.markdown("Type a budget.")
        elif found.tier is None:
            _unmeasured(sheet, costs, metric, picked, budget * unit.scale, left)
        else:
            _measured(sheet, costs, found, budget * unit.scale, left)


def _measured(
    sheet: Sheet, costs: Costs, found: Offer, budget: float, beside: DeltaGenerator
) -> None:
    pick = pick_by_accuracy(found.costs, found.accuracies, budget)
    if pick is None:
        _too_little(costs, found, budget, np.isfinite(found.accuracies))
        return
    row, name = found.row(pick.best), plain(found.name(pick.best))
    tier = "as pretrained"
    if row is not None:
        name, tier = f"the stitch {name} of {plain(sheet.pair.name)}", f"tier {found.tier}"
    st.markdown(
        f"Deploy **{name}**: **{percent(found.accuracies[pick.best])}** ({tier}) at "
        f"**{_shown(costs, found.costs[pick.best])}**. Of {pick.affordable} networks that are "
        f"measured and cost at most {_shown(costs, budget)}, none is more accurate, and none as "
        "accurate is cheaper."
    )
    _alternatives(costs, found, pick)
    if row is not None:
        _spread(sheet, costs, row)
        with beside:
            list_button(sheet.pair, row, place="budget")


def _alternatives(costs: Costs, found: Offer, pick: Pick) -> None:
    """The pick between its neighbours on the front."""
    unit = costs.unit
    rows = [
        {
            "": words,
            "network": found.name(k),
            unit.name: found.costs[k] / unit.scale,
            "top-1 (%)": 100 * found.accuracies[k],
            "points": 100 * (found.accuracies[k] - found.accuracies[pick.best]),
            "cost": found.costs[k] / found.costs[pick.best],
        }
        for words, k in (
            ("next cheaper", pick.cheaper),
            ("within the budget", pick.best),
            ("next better", pick.costlier),
        )
        if k is not None
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            unit.name: st.column_config.NumberColumn(format="%.4g"),
            "top-1 (%)": st.column_config.NumberColumn(format="%.1f"),
            "points": st.column_config.NumberColumn(format="%+.1f"),
            "cost": st.column_config.NumberColumn(format="%.2f ×"),
        },
    )


def _spread(sheet: Sheet, costs: Costs, row: int) -> None:
    times = sheet.timings
    if costs.name == "latency" and times is not None:
        st.caption(
            f"Half of its {times.passes[row]} passes took {times.low[row]:.3g} to "
            f"{times.high[row]:.3g} ms, on {plain(times.where)}."
        )


def _unmeasured(
    sheet: Sheet,
    costs: Costs,
    metric: Metric,
    picked: Selection,
    budget: float,
    beside: DeltaGenerator,
) -> None:
    """Without accuracies the score has to do."""
    pair = sheet.pair
    row = pick_by_score(costs.stitches, pair.scores(metric), picked.bucket, budget)
    if row is None:
        cheapest = np.nanmin(costs.stitches, initial=np.inf)
        st.markdown(
            f"No stitch in a bucket costs at most {_shown(costs, budget)}; the cheapest stitch "
            f"takes {_shown(costs, cheapest)}."
        )
        return
    i, j = pair.stitches[row]
    st.markdown(
        f"No stitch of {plain(pair.name)} has been measured, so this is a guess by the score "
        f"alone: **the stitch {i} → {j}** at **{_shown(costs, costs.stitches[row])}**, the best "
        f"by {METHODS[metric]} of bucket {picked.bucket[row]}, the costliest that the budget "
        "reaches. Compute the tuned accuracies on the **Study** page to know."
    )
    with beside:
        list_button(pair, row, place="budget")


def _too_little(costs: Costs, found: Offer, budget: float, known: Bits) -> None:
    rows = np.flatnonzero(known & np.isfinite(found.costs))
    cheapest = rows[found.costs[rows].argmin()]
    st.markdown(
        f"Nothing costs as little as {_shown(costs, budget)}: the cheapest network that is "
        f"measured, **{plain(found.name(int(cheapest)))}**, takes "
        f"**{_shown(costs, found.costs[cheapest])}** and reaches "
        f"{percent(found.accuracies[cheapest])}."
    )


def _shown(costs: Costs, value: float) -> str:
    return f"{value / costs.unit.scale:.4g} {costs.unit.name}"
