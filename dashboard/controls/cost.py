"""The controls of the trade-off's costs: axis, timed machine, range, budget."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard.controls.jobs import start_button
from dashboard.controls.selection import SLIDER
from dashboard.model.tradeoff import Bits, Limits, Sheet, clamped, inside, limits
from dashboard.session.choices import bound, forget, keep, write_address
from dashboard.session.resources import study
from dashboard.session.state import choices, session
from dashboard.text.markup import plain
from klas.jobs.kinds import LatencyJob
from klas.results.costs import COSTS, CostName, Costs
from klas.results.pair import Pair

COST_HELP = (
    "What the curves, the range and the budget are about. Buckets are always of MACs, as in the "
    "paper. Latency is the median time of a forward pass of one image, measured on one machine; "
    "MACs are the multiply–accumulates of the same pass, in the form that was trained: an anchor "
    "with `fused = true` is measured in its fused form instead."
)
NAMES: dict[CostName, str] = {"macs": "MACs", "params": "parameters", "latency": "latency"}


@dataclass(frozen=True, kw_only=True)
class CostChoice:
    """What the controls of cost say.

    Attributes:
        sheet: the pair with the times of the machine of choice.
        costs: the axis that is shown; MACs stand in for times that are not known.
        bounds: the range, in the shown unit.
        limits: the ends of the slider and its step.
    """

    sheet: Sheet
    costs: Costs
    bounds: tuple[float, float]
    limits: Limits

    @property
    def is_limited(self) -> bool:
        """Whether the range leaves anything out."""
        return self.bounds != (self.limits.low, self.limits.high)

    @property
    def inside(self) -> Bits:
        """(N,) the candidates in the range."""
        return inside(self.costs, self.bounds, self.limits.step)


def cost_controls(sheets: Sequence[Sheet]) -> CostChoice:
    """A row with the axis, the range and the timed machine.

    Args:
        sheets: the pair, once for every machine that it was timed on.
    """
    row = st.container(horizontal=True, gap="medium")
    with row:
        name = pick_cost(COST_HELP)
    place = row.empty()  # of the range, which depends on the machine
    with row:
        sheet = _pick_machine(sheets, name)
        if name == "latency":  # in this row, so that nothing below moves
            _latency_button(sheet.pair, timed=sheet.timings is not None)
    if name not in sheet.costs:
        name = "macs"
    settle_axis(name)
    costs = sheet.costs[name]
    with place:
        bounds, ends = _pick_range(costs)
    return CostChoice(sheet=sheet, costs=costs, bounds=bounds, limits=ends)


def pick_cost(help: str, names: Sequence[CostName] = COSTS) -> CostName:
    """A selector of the axis of cost.

    Args:
        names: the axes that are known; the choice of another one is forgotten.
    """
    asked = choices().get("cost", COSTS[0])
    session().cost_axis = session().cost_axis or asked
    if asked not in names:
        asked = COSTS[0]
        keep("cost", None)

    def change(name: CostName) -> None:
        _numbers_are_of(name)
        keep("cost", None if name == COSTS[0] else name)

    name: CostName = st.segmented_control(
        "Cost",
        names,
        required=True,
        format_func=NAMES.__getitem__,
        help=help,
        **bound("cost", asked, help, *names, argument="default", change=change),
    )
    return name


def settle_axis(shown: CostName) -> None:
    """Forget a range and a budget of another axis than the one that is shown.

    It is another one than the chosen one where MACs stand in for times that are not known yet.
    """
    if _numbers_are_of(shown):
        write_address()


def _numbers_are_of(name: CostName) -> bool:
    """A range and a budget of one cost mean nothing as another; whether any were forgotten."""
    before, session().cost_axis = session().cost_axis, name
    if before in (None, name):
        return False
    forget("range")
    forget("budget")
    return True


def _pick_range(costs: Costs) -> tuple[tuple[float, float], Limits]:
    """A slider over the costs of a pair's networks, in the unit that is shown."""
    ends = limits(costs)
    at = clamped(choices().get("range"), ends)

    def change(new: tuple[float, float]) -> None:
        keep("range", None if new == (ends.low, ends.high) else new)

    st.slider(
        f"Range of cost ({costs.unit.name})",
        ends.low,
        ends.high,
        step=ends.step,
        format="%.6g",
        width=SLIDER,
        help="What lies outside is neither drawn nor listed. The buckets stay as they are.",
        **bound("range", at, *ends, costs.name, change=change),
    )
    return at, ends


def budget_field(costs: Costs, ends: Limits, place: int | str) -> float | None:
    """The field for a budget in the shown unit; None, and why, where it says none."""
    identity = costs.name, place
    kept, typed = choices().get("budget"), session().typed_budget
    if kept is not None:
        value = float(kept)
    elif typed is not None and typed[0] == identity:
        value = typed[1]
    else:
        value = float(round((ends.low + ends.high) / 2 / ends.step) * ends.step)

    def change(new: float) -> None:
        if new >= 0:
            session().typed_budget = None
            keep("budget", new)
        else:
            session().typed_budget = identity, new
            keep("budget", None)

    # No limit here: below one the browser would say so and leave the old answer beside it. An
    # emptied field goes back to its number.
    budget: float = st.number_input(
        f"Budget of {NAMES[costs.name]} ({costs.unit.name})",
        step=ends.step,
        format="%.6g",
        **bound("budget", value, *identity, change=change),
    )
    if budget < 0:
        st.markdown("Type a budget of 0 or more.")
        return None
    return budget


def _pick_machine(sheets: Sequence[Sheet], name: CostName) -> Sheet:
    """The pair with the times of one machine: of the last that was timed, or of another one.

    Args:
        name: the axis; a single machine is named only for latency.
    """
    machines = [sheet.timings.where for sheet in sheets if sheet.timings is not None]
    if len(machines) > 1:
        return sheets[machines.index(st.selectbox("Timed on", machines, key="widget:machine"))]
    if machines and name == "latency":
        st.caption(
            f"Median forward time of one image on {plain(machines[0])}. Buckets are still of MACs.",
            width=SLIDER,
        )
    return sheets[0]


def _latency_button(pair: Pair, *, timed: bool) -> None:
    """The way to the times of a pair's networks on the machine that the app runs on.

    It stays beside times that are known: which device, how many threads and which torch a job
    finds is known to the job alone, and times of others do not stand for these.

    Args:
        timed: whether the pair was timed on any machine; else MACs stand in, and this says so.
    """
    job = LatencyJob(pairs=(pair.names,))
    if timed:
        start_button(
            "Measure on this machine",
            study(),
            job,
            icon=":material/timer:",
            kind="secondary",
            help="Times every stitch and both anchors on the machine that the app runs on, with "
            "its present device, number of threads and version of torch. If these times are known "
            "already, they are shown first and nothing is timed again.",
        )
        return
    st.caption(":material/info: Not timed yet: **MACs** are shown meanwhile.", width="content")
    start_button(
        "Measure latency",
        study(),
        job,
        icon=":material/timer:",
        help="Every stitch of the pair and both anchors run at batch 1, for about 0.2 seconds "
        "each.",
    )
