"""The controls of the trade-off's costs: the axis, the machine that was timed, the range."""

from collections.abc import Sequence

import streamlit as st

from dashboard.markdown import plain
from dashboard.progress import start_button
from dashboard.selection_controls import SLIDER
from dashboard.state import bound, forget, keep, remembered, study
from dashboard.tradeoff import Limits, Sheet, clamped, limits
from klas.costs import COSTS, CostName, Costs
from klas.results import Pair

NAMES: dict[CostName, str] = {"macs": "MACs", "params": "parameters", "latency": "latency"}


def pick_cost() -> CostName:
    """A selector of the axis of cost."""
    name: CostName = st.segmented_control(
        "Cost",
        COSTS,
        required=True,
        format_func=NAMES.__getitem__,
        help="What the curves, the range and the budget are about. Buckets are of MACs, as the "
        "paper's. Latency is the median time of a forward pass of one image, measured on a "
        "machine; MACs are multiply-accumulates of the same pass.",
        **bound("cost", remembered("cost", COSTS[0])) | {"on_change": _change_cost},
    )
    return name


def _change_cost() -> None:
    """A range and a budget of one cost mean nothing as another."""
    forget("range")
    forget("budget")
    name = st.session_state["widget:cost"]
    keep("cost", None if name == COSTS[0] else name)


def pick_range(costs: Costs) -> tuple[tuple[float, float], Limits]:
    """A slider over the costs of a pair's networks, in the unit that is shown."""
    ends = limits(costs)
    at = clamped(remembered("range", None), ends)

    def change() -> None:
        low, high = st.session_state["widget:range"]
        keep("range", None if (low, high) == (ends.low, ends.high) else (low, high))

    st.slider(
        f"Range of cost ({costs.unit.name})",
        ends.low,
        ends.high,
        step=ends.step,
        format="%.6g",
        width=SLIDER,
        help="What lies outside is neither drawn nor listed. The buckets stay as they are.",
        **bound("range", at, *ends, costs.name) | {"on_change": change},
    )
    return at, ends


def pick_machine(sheets: Sequence[Sheet], name: CostName) -> Sheet:
    """The pair with the times of one machine: of the last that was timed, or of another one.

    Args:
        name: the axis; only of latency is a single machine told.
    """
    machines = [sheet.timings.where for sheet in sheets if sheet.timings is not None]
    if len(machines) > 1:
        return sheets[machines.index(st.selectbox("Timed on", machines, key="widget:machine"))]
    if machines and name == "latency":
        st.caption(
            f"Median forward time of one image on {plain(machines[0])}. Buckets stay on MACs.",
            width=SLIDER,
        )
    return sheets[0]


def latency_button(pair: Pair, *, timed: bool) -> None:
    """The way to the times of a pair's networks on the machine that the app runs on.

    It stays beside times that are known: which device, how many threads and which torch a job
    finds is known to the job alone, and times of others do not stand for these.

    Args:
        timed: whether the pair was timed on any machine; else MACs stand in, and this says so.
    """
    task = {"kind": "latency", "pairs": [list(pair.names)]}
    if timed:
        start_button(
            "Measure on this machine",
            study(),
            task,
            icon=":material/timer:",
            kind="secondary",
            help="Times every stitch and both anchors on the machine that the app runs on, with "
            "its device, number of threads and torch of now. Where these very times are known, "
            "they are shown first and nothing is timed again.",
        )
        return
    st.caption(":material/info: Not timed yet: **MACs** are shown meanwhile.", width="content")
    start_button(
        "Measure latency",
        study(),
        task,
        icon=":material/timer:",
        help="Every stitch of the pair and both anchors run at batch 1, for about 0.2 seconds "
        "each.",
    )
