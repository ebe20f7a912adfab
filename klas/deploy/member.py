"""A member of an elastic network, as a row of its table; and which one a budget takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np

from klas.errors import SelectionError
from klas.results.documents.networks import Latency, NetworkMember
from klas.selection.budget import pick_by_accuracy

CostName = Literal["macs", "params", "ms"]
UNITS: Mapping[CostName, str] = {"macs": "MACs", "params": "parameters", "ms": "ms"}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of an elastic network.

    Attributes:
        name: ``SOURCE:i-TARGET:j``, or an anchor's own.
        source, source_block: f and i; an anchor is its own source, and has no blocks to name.
        target, target_block: g and j; None for an anchor.
        macs, params: what it costs for one image.
        accuracy: on the validation samples, in [0, 1], by tier.
        latency: the median milliseconds of one image, and the machine; None if not measured.
    """

    name: str
    source: str
    source_block: int | None = None
    target: str | None = None
    target_block: int | None = None
    macs: int
    params: int
    accuracy: Mapping[str, float] = field(default_factory=dict)
    latency: Latency | None = None

    @classmethod
    def from_json(cls, entry: NetworkMember) -> Self:
        """From the plain values of :meth:`to_json`."""
        return cls(**entry)

    def to_json(self) -> NetworkMember:
        """Plain values for a file."""
        return {
            "name": self.name,
            "source": self.source,
            "source_block": self.source_block,
            "target": self.target,
            "target_block": self.target_block,
            "macs": self.macs,
            "params": self.params,
            "accuracy": dict(self.accuracy),
            "latency": self.latency,
        }

    def cost(self, of: CostName) -> float:
        """What it costs; NaN where that was not measured."""
        if of == "ms":
            return self.latency["ms"] if self.latency else float("nan")
        return float(self.macs if of == "macs" else self.params)


def stitch_name(source: str, i: int, target: str, j: int) -> str:
    """What a stitch is called among the members of an elastic network.

    Examples:
        >>> stitch_name("vit_tiny", 3, "vit_base", 8)
        'vit_tiny:3-vit_base:8'
    """
    return f"{source}:{i}-{target}:{j}"


def within(members: Sequence[Member], of: CostName, budget: float, tier: str) -> Member:
    """The most accurate member within a budget; the costliest, where accuracies are unknown.

    Args:
        of: what the budget limits.
        budget: the most that it may cost, in MACs, parameters or milliseconds.
        tier: whose accuracies count.

    Raises:
        SelectionError: every member costs more; the budget is no number; or latencies were not
            measured.

    Examples:
        >>> small = Member(name="s", source="s", macs=10, params=5, accuracy={"tuned": 0.7})
        >>> large = Member(name="l", source="l", macs=90, params=9, accuracy={"tuned": 0.9})
        >>> within([small, large], "macs", 50, "tuned").name
        's'
        >>> within([small, large], "macs", 5, "tuned")
        Traceback (most recent call last):
            ...
        klas.errors.SelectionError: every member costs more than 5 MACs; the cheapest, s, costs 10
    """
    if np.isnan(budget):
        raise SelectionError(f"a budget of {budget} {UNITS[of]} is no number; give one")
    costs = np.array([member.cost(of) for member in members])
    if np.isnan(costs).all():
        raise SelectionError(
            "no latencies are known, so none can be chosen by milliseconds; measure them "
            "(elastic.measure_latency()), or give a budget of MACs or parameters"
        )
    accuracy = [member.accuracy.get(tier, np.nan) for member in members]
    pick = pick_by_accuracy(costs, accuracy, budget)
    if pick is not None:
        return members[pick.best]
    affordable = np.flatnonzero(costs <= budget)
    if affordable.size:
        return members[int(affordable[np.argmax(costs[affordable])])]
    cheapest = members[int(np.nanargmin(costs))]
    raise SelectionError(
        f"every member costs more than {_amount(budget, of)} {UNITS[of]}; the cheapest, "
        f"{cheapest.name}, costs {_amount(cheapest.cost(of), of)}"
    )


def _amount(value: float, of: CostName) -> str:
    return f"{value:.3g}" if of == "ms" else f"{value:,.0f}"
