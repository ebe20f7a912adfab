"""The controls of a budget: the axis of cost over several pairs, and the field itself."""

from collections.abc import Sequence

import streamlit as st

from dashboard.cost_controls import NAMES
from dashboard.state import bound, forget, keep, remembered
from dashboard.tradeoff import Limits
from klas.costs import COSTS, CostName, Costs

TYPED = "widget:budget:typed"  # what the field says where that is no budget; goes with the widgets


def pick_axis(names: Sequence[CostName]) -> CostName:
    """A selector of the axis of cost, of those that are known of all pairs."""
    asked: CostName = remembered("cost", COSTS[0])
    if asked not in names:
        _change_axis(COSTS[0])
        asked = COSTS[0]
    name: CostName = st.segmented_control(
        "Cost",
        names,
        required=True,
        format_func=NAMES.__getitem__,
        help="What the budget is about. Latency can be chosen once every pair was timed on the "
        "same machine.",
        **bound("cost", asked, *names)
        | {"on_change": lambda: _change_axis(st.session_state["widget:cost"])},
    )
    return name


def _change_axis(name: CostName) -> None:
    """A range and a budget of one cost mean nothing as another."""
    forget("range")
    forget("budget")
    keep("cost", None if name == COSTS[0] else name)


def budget_field(costs: Costs, ends: Limits, place: int | str) -> float | None:
    """The field for a budget in the shown unit; None, and why, where it says none."""
    identity = costs.name, place
    kept: float | None = remembered("budget", None)
    known_as, typed = st.session_state.get(TYPED, (None, None))
    if kept is not None:
        value: float | None = float(kept)
    elif known_as == identity:
        value = typed
    else:
        value = float(round((ends.low + ends.high) / 2 / ends.step) * ends.step)

    def change() -> None:
        new = st.session_state["widget:budget"]
        if new is not None and new >= 0:
            st.session_state.pop(TYPED, None)
            keep("budget", new)
        else:
            st.session_state[TYPED] = identity, new
            keep("budget", None)

    # No limit here: below one the browser would say so and leave the old answer beside it.
    budget: float | None = st.number_input(
        f"Budget of {NAMES[costs.name]} ({costs.unit.name})",
        value=None,
        step=ends.step,
        format="%.6g",
        placeholder="a number",
        **bound("budget", value, *identity) | {"on_change": change},
    )
    if budget is None:
        st.markdown("Type a budget.")
    elif budget < 0:
        st.markdown("Type a budget of 0 or more.")
    return budget if budget is not None and budget >= 0 else None
