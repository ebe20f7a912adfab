"""The budget picker: type what a network may cost, get the one to deploy, and why.

It answers at the tier that is shown, over one pair, and names what another pair or anchor of the
study does better; or over all pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.controls.cost import budget_field, pick_cost, settle_axis
from dashboard.controls.downloads import list_button
from dashboard.controls.heading import says_errors, selection
from dashboard.model.deployment import Network, Offer, better, joined, offer, offer_of_all
from dashboard.model.tradeoff import Curve, Floats, Limits, Sheet, limits
from dashboard.session.accuracies import accuracy_at, best_tier
from dashboard.session.address import EVERY_PAIR
from dashboard.session.choices import forget, keep
from dashboard.session.resources import store, study
from dashboard.text.budget import (
    better_elsewhere,
    counted,
    counted_of_all,
    deploy,
    shown,
    too_little,
)
from dashboard.text.markdown import plain
from klas.results.costs import CostName, Costs, costs_of, timings_of
from klas.results.formatting import METHODS
from klas.results.pair import Choice, Pair, pairs_of
from klas.results.selections import choose
from klas.selection.buckets import Selection
from klas.selection.budget import Pick, pick_by_score
from klas.study import Metric, Tier

COST = (
    "What the budget is about. Latency can be chosen once every pair was timed on the same machine."
)


@says_errors
def budget_picker(
    sheet: Sheet,
    costs: Costs,
    ends: Limits,
    metric: Metric,
    picked: Selection,
    accuracies: Mapping[Tier, Floats | None],
    tier: Tier,
    drawn: Sequence[Curve],
) -> None:
    """The field, and the answer beside it, over one pair at the tier that is shown.

    Args:
        drawn: what the page draws at that tier, whatever the range of cost.
    """
    # Of equals the page's own score counts.
    trained = sorted(drawn, key=lambda c: c.metric != metric) if tier == "finetuned" else []
    found = offer(sheet.pair, costs, accuracies, tier, trained)
    said = counted(found, metric, selection().tau, {c.metric: int(c.chosen.sum()) for c in trained})
    guess = _Guess(metric=metric, picked=picked, known=best_tier(accuracies))
    _answer(sheet, costs, ends, found, said, guess, _others(sheet, costs, metric, tier))


@dataclass(frozen=True, kw_only=True)
class _Guess:
    """What there is to go by where no stitch is measured at the tier.

    Attributes:
        known: the best tier at which some are.
    """

    metric: Metric
    picked: Selection
    known: Tier | None


@st.fragment
@says_errors
def _answer(
    sheet: Sheet,
    costs: Costs,
    ends: Limits,
    found: Offer,
    said: str,
    guess: _Guess,
    others: Offer,
) -> None:
    """All that hangs on the budget.

    Args:
        said: what ``found`` is.
        others: of the rest of the study.
    """
    st.subheader("What to deploy within a budget")
    left, right = st.columns([1, 3], gap="large")
    with left:
        asked = budget_field(costs, ends, sheet.pair.index)
    with right:
        if asked is None:
            return
        budget = asked * costs.unit.scale
        pick = found.pick(budget) if found.stitches else None
        best = None if pick is None else found.networks[pick.best]
        if pick is not None:
            st.markdown(deploy(costs, found, pick, budget, "of this pair"))
            st.caption(said)
            _spread(sheet, costs, found.networks[pick.best])
        elif found.stitches:
            st.markdown(too_little(costs, found, budget))
        else:
            _unmeasured(sheet.pair, costs, guess, found.tier, budget, left)
        if (elsewhere := better(best, others, budget)) is not None:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(better_elsewhere(costs, elsewhere, others), width="content")
                if len(sheet.pair.document["pairs"]) > 1:
                    _all_pairs_link(asked)
        if pick is not None:
            _alternatives(costs, found, pick, all_pairs=False)
            with left:
                _listing(found.networks[pick.best])


@st.fragment
@says_errors
def budget_over_all(
    choices: Sequence[Choice],
    by_cost: Mapping[CostName, Costs],
    metric: Metric,
    tier: Tier,
    where: str | None,
) -> None:
    """The axis of cost, the field, and the answer over every anchor and all that is chosen.

    Args:
        choices: with their accuracies at the tier; at least one.
        by_cost: the axes that are known of all their pairs, as the page of all pairs has them.
        where: the machine of the times, if there are any.
    """
    st.subheader("What to deploy within a budget")
    name = pick_cost(COST, list(by_cost))
    settle_axis(name)
    costs = by_cost[name]
    if costs.name == "latency" and where is not None:
        st.caption(f"Median forward time of one image on {plain(where)}.")
    left, right = st.columns([1, 3], gap="large")
    with left:
        budget = budget_field(costs, limits(costs), EVERY_PAIR)
    with right:
        if budget is None:
            return
        budget *= costs.unit.scale
        found = offer_of_all(choices[0].pair.document, choices, costs, tier, metric)
        pick = found.pick(budget)
        if pick is None:
            st.markdown(too_little(costs, found, budget))
            return
        chosen = sum(int(c.chosen.sum()) for c in choices)
        st.markdown(deploy(costs, found, pick, budget, "of this study"))
        st.caption(counted_of_all(found, metric, selection().tau, chosen))
        _alternatives(costs, found, pick, all_pairs=True)
        with left:
            _listing(found.networks[pick.best])


def _others(sheet: Sheet, costs: Costs, metric: Metric, tier: Tier) -> Offer:
    """Every anchor, and what the score chooses of the other pairs."""
    pair, machine = sheet.pair, None if sheet.timings is None else sheet.timings.machine
    spec = selection().model_copy(update={"metric": metric})
    nothing = np.zeros(len(pair.macs), dtype=bool)
    choices = [Choice(pair=pair, chosen=nothing, accuracy=np.full(len(nothing), np.nan))]
    each = [costs]
    for other in pairs_of(pair.document):
        if other.index == pair.index or not other.is_scored(metric):
            continue
        timings = None
        if costs.name == "latency":
            known = timings_of(store(), study(), other)
            timings = next((t for t in known if t.machine == machine), None)
            if timings is None:
                continue
        chosen = choose(other, spec).chosen
        choices.append(Choice(pair=other, chosen=chosen, accuracy=accuracy_at(other, chosen, tier)))
        each.append(costs_of(other, costs.name, timings))
    return offer_of_all(pair.document, choices, joined(pair.document, each), tier, metric)


def _all_pairs_link(budget: float) -> None:
    """The way to the same question over every anchor and all pairs.

    Args:
        budget: in the shown unit.
    """
    if st.button(
        "Ask over all pairs",
        key="budget:all",
        icon=":material/arrow_forward:",
        type="tertiary",
        on_click=_to_all_pairs,
        args=(budget,),
    ):
        st.rerun()  # the whole page: the pair is chosen outside of this fragment


def _to_all_pairs(budget: float) -> None:
    forget("cell")  # it belongs to the pair
    keep("budget", budget)
    keep("pair", EVERY_PAIR)


def _alternatives(costs: Costs, found: Offer, pick: Pick, *, all_pairs: bool) -> None:
    """The pick between its neighbours on the front."""
    unit, best = costs.unit, found.networks[pick.best]
    steps = (
        ("next cheaper", pick.cheaper),
        ("within the budget", pick.best),
        ("next better", pick.costlier),
    )
    chosen = [(words, found.networks[k]) for words, k in steps if k is not None]
    rows: list[dict[str, Any]] = []
    for words, network in chosen:
        row: dict[str, Any] = {"": words, "network": network.name}
        if all_pairs:
            row["pair"] = None if network.pair is None else network.pair.name
        elif any(n.method for _, n in chosen):
            row["trained with"] = network.method and METHODS[network.method]
        row |= {
            unit.name: network.cost / unit.scale,
            "top-1 (%)": 100 * network.accuracy,
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
            "top-1 (%)": st.column_config.NumberColumn(format="%.1f"),
            "points": st.column_config.NumberColumn(format="%+.1f"),
            "cost": st.column_config.NumberColumn(format="%.2f ×"),
        },
    )


def _listing(network: Network) -> None:
    if network.pair is not None and network.row is not None:
        list_button(network.pair, network.row, place="budget")


def _spread(sheet: Sheet, costs: Costs, network: Network) -> None:
    times, row = sheet.timings, network.row
    if costs.name == "latency" and times is not None and row is not None:
        st.caption(
            f"Half of its {times.passes[row]} passes took {times.low[row]:.3g} to "
            f"{times.high[row]:.3g} ms, on {plain(times.where)}."
        )


def _unmeasured(
    pair: Pair,
    costs: Costs,
    guess: _Guess,
    tier: Tier,
    budget: float,
    beside: DeltaGenerator,
) -> None:
    """Without accuracies at the tier that is shown the score has to do."""
    picked = guess.picked
    row = pick_by_score(costs.stitches, pair.scores(guess.metric), picked.bucket, budget)
    if row is None:
        cheapest = np.nanmin(costs.stitches, initial=np.inf)
        known = f"; the cheapest stitch takes {shown(costs, cheapest)}"
        st.markdown(
            f"No stitch in a bucket costs at most {shown(costs, budget)}"
            f"{known if np.isfinite(cheapest) else ''}."
        )
        return
    i, j = pair.stitches[row]
    if tier == "finetuned":
        hint = "Train it jointly to know"
    else:
        hint = f"Compute the {tier} accuracies on the **Study** page to know"
    if guess.known is not None:
        hint += f", or choose the tier {guess.known} above, which is measured"
    st.markdown(
        f"No stitch of {plain(pair.name)} has been measured at tier {tier}, so this is a guess by "
        f"the score alone: **the stitch {i} → {j}** at **{shown(costs, costs.stitches[row])}**, "
        f"the best by {METHODS[guess.metric]} of bucket {picked.bucket[row]}, the costliest that "
        f"the budget reaches. {hint}."
    )
    with beside:
        list_button(pair, row, place="budget")
