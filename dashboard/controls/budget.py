"""The budget picker: type what a network may cost, get the one to deploy, and why.

It answers at the tier that is shown. Over one pair it also names another pair's stitch or an
anchor that does better.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.controls.cost import budget_field, pick_cost, settle_axis
from dashboard.controls.downloads import list_button
from dashboard.controls.export import export_button
from dashboard.controls.heading import says_errors, selection
from dashboard.model.deployment import (
    Deployable,
    Network,
    better,
    deployable_of_pair,
    deployable_of_study,
    joined,
)
from dashboard.model.exports import exportable_anchor, exportable_stitch
from dashboard.model.tradeoff import Bits, Curve, Floats, Limits, Sheet, limits
from dashboard.session.accuracies import accuracy_at, best_tier, training_at_hand
from dashboard.session.address import EVERY_PAIR
from dashboard.session.choices import forget, keep
from dashboard.session.resources import store, study
from dashboard.tables.deployment import alternatives_table
from dashboard.text.budget import (
    basis_of_pair,
    basis_of_study,
    better_elsewhere,
    deploy,
    shown_cost,
    too_little,
)
from dashboard.text.markup import plain
from klas.results.accuracies import Racing
from klas.results.costs import CostName, Costs, costs_of
from klas.results.formatting import METHODS
from klas.results.pair import Choice, Pair, anchor_named, pairs_of
from klas.results.selections import choose, own_or_fair_share, racing_in
from klas.results.timings import timings_of
from klas.selection.buckets import Selection
from klas.selection.budget import pick_by_score
from klas.study import Metric, Tier

COST_HELP = (
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
    deployable = deployable_of_pair(sheet.pair, costs, accuracies, tier, trained)
    sizes = {curve.metric: int(curve.chosen.sum()) for curve in trained}
    basis = basis_of_pair(deployable, metric, selection().tau, sizes)
    guess = _Guess(metric=metric, picked=picked, known=best_tier(accuracies))
    others = _others(sheet, costs, metric, tier)
    _answer(sheet, costs, ends, deployable, basis, guess, others)


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
    deployable: Deployable,
    basis: str,
    guess: _Guess,
    others: Deployable,
) -> None:
    """All that a change of the budget draws again.

    Args:
        basis: what ``deployable`` is, in a sentence.
        others: what the rest of the study has.
    """
    st.subheader("What to deploy within a budget")
    left, right = st.columns([1, 3], gap="large")
    with left:
        asked = budget_field(costs, ends, sheet.pair.index)
    with right:
        if asked is None:
            return
        budget = asked * costs.unit.scale
        pick = deployable.pick(budget) if deployable.stitches else None
        best = None if pick is None else deployable.networks[pick.best]
        if pick is not None:
            st.markdown(deploy(costs, deployable, pick, budget, "of this pair"))
            st.caption(basis)
            _spread(sheet, costs, deployable.networks[pick.best])
        elif deployable.stitches:
            st.markdown(too_little(costs, deployable, budget))
        else:
            _unmeasured(sheet.pair, costs, guess, deployable.tier, budget, left)
        if (elsewhere := better(best, others, budget)) is not None:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(better_elsewhere(costs, elsewhere, others.tier), width="content")
                if len(sheet.pair.document["pairs"]) > 1:
                    _all_pairs_link(asked)
        if pick is not None:
            alternatives_table(costs, deployable, pick, sheet.pair.task.metric, all_pairs=False)
            best = deployable.networks[pick.best]
            with left, st.container(horizontal=True):
                _listing(best)
                _export(sheet.pair, best, deployable.tier, _trained_with(best, guess))


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
    name = pick_cost(COST_HELP, list(by_cost))
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
        deployable = deployable_of_study(choices[0].pair.document, choices, costs, tier, metric)
        pick = deployable.pick(budget)
        if pick is None:
            st.markdown(too_little(costs, deployable, budget))
            return
        chosen = sum(int(c.chosen.sum()) for c in choices)
        st.markdown(deploy(costs, deployable, pick, budget, "of this study"))
        st.caption(basis_of_study(deployable, metric, selection().tau, chosen))
        alternatives_table(costs, deployable, pick, choices[0].pair.task.metric, all_pairs=True)
        best = deployable.networks[pick.best]
        trained = next((c.chosen for c in choices if c.pair is best.pair), None)
        with left, st.container(horizontal=True):
            _listing(best)
            _export(choices[0].pair, best, tier, None if trained is None else (trained, None))


def _others(sheet: Sheet, costs: Costs, metric: Metric, tier: Tier) -> Deployable:
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
    return deployable_of_study(pair.document, choices, joined(pair.document, each), tier, metric)


def _all_pairs_link(budget: float) -> None:
    """The way to the same question over every anchor and all pairs.

    Args:
        budget: in the shown unit.
    """
    if st.button(
        "Search all pairs",
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


def _listing(network: Network) -> None:
    if network.pair is not None and network.row is not None:
        list_button(network.pair, network.row, place="budget")


def _trained_with(network: Network, guess: _Guess) -> tuple[Bits, Racing] | None:
    """(N,) what was trained together with a stitch, and the buckets in which that raced."""
    if network.pair is None or network.method is None:
        return None
    picked, own = guess.picked, guess.metric
    chosen = own_or_fair_share(network.pair, picked, own, network.method)
    return chosen, None if network.method == own else racing_in(picked, network.method)


def _export(shown: Pair, network: Network, tier: Tier, trained: tuple[Bits, Racing] | None) -> None:
    """The answer as a file, at the tier at which it is the answer.

    Args:
        shown: a pair of the study.
        trained: at ``finetuned``, what was trained together with it.
    """
    if network.pair is None or network.row is None:
        exportable = exportable_anchor(anchor_named(shown.document, network.name))
    else:
        training = None
        if tier == "finetuned" and trained is not None:
            training = training_at_hand(network.pair, *trained)
        exportable = exportable_stitch(network.pair, network.row, training)
    export_button(exportable, shown.unit, place="budget", tier=tier)


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
        known = f"; the cheapest stitch takes {shown_cost(costs, cheapest)}"
        st.markdown(
            f"No stitch in a bucket costs at most {shown_cost(costs, budget)}"
            f"{known if np.isfinite(cheapest) else ''}."
        )
        return
    i, j = pair.stitches[row]
    if tier == "finetuned":
        hint = "To measure its accuracy, train it jointly"
    else:
        hint = f"To measure its accuracy, compute the stage {tier} on the **Study** page"
    if guess.known is not None:
        hint += f"; or choose the tier {guess.known} above, which is measured"
    st.markdown(
        f"No stitch of {plain(pair.name)} has been measured at tier {tier}, so this is a guess by "
        f"the score alone: **the stitch {i} → {j}** at "
        f"**{shown_cost(costs, costs.stitches[row])}**. It is the best by {METHODS[guess.metric]} "
        f"in bucket {picked.bucket[row]}, the costliest bucket that the budget reaches. {hint}."
    )
    with beside:
        list_button(pair, row, place="budget")
