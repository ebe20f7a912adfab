"""What networks cost: MACs, parameters, or time that was measured on a machine. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from klas.results.pair import CostUnit, Pair
from klas.selection.curves import Envelope, envelope

CostName = Literal["macs", "params", "latency"]
COSTS: tuple[CostName, ...] = get_args(CostName)

Floats = NDArray[np.float64]

MILLISECONDS = CostUnit("ms", "ms at batch 1", 1.0)
THOUSANDS = CostUnit("k parameters", "thousand parameters", 1e3)
MILLIONS = CostUnit("M parameters", "million parameters", 1e6)


@dataclass(frozen=True, kw_only=True)
class Timings:
    """The forward times of a pair's networks at batch 1 on one machine, in milliseconds.

    Attributes:
        machine: ``device``, ``threads``, ``torch``.
        median, low, high: (N,) of the candidates: the median and the quartiles.
        anchors: the medians of the anchors, by name; a headless one has none.
        passes: (N,) how many passes were timed.
    """

    machine: Mapping[str, Any]
    median: Floats
    low: Floats
    high: Floats
    anchors: Mapping[str, float]
    passes: NDArray[np.int64]

    @property
    def where(self) -> str:
        """The machine in words."""
        threads = self.machine["threads"]
        plural = "" if threads == 1 else "s"
        return f"{self.machine['device']}, {threads} thread{plural}, torch {self.machine['torch']}"


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One axis of cost over a pair's candidates.

    Attributes:
        stitches: (N,) in plain units: MACs, parameters, milliseconds.
        anchors: the same of the anchors, by name.
        unit: what they are shown in.
    """

    name: CostName
    stitches: Floats
    anchors: Mapping[str, float]
    unit: CostUnit

    @property
    def title(self) -> str:
        """The title of an axis."""
        match self.name:
            case "macs":
                return self.unit.title
            case "params":
                return self.unit.papers
            case "latency":
                return "median forward time at batch 1 (ms)"


def costs_of(pair: Pair, name: CostName, timings: Timings | None = None) -> Costs:
    """A pair's costs along one axis.

    Args:
        timings: needed for ``latency``.
    """
    anchors = (pair.source, pair.target)
    if name == "latency":
        assert timings is not None
        return Costs(name=name, stitches=timings.median, anchors=timings.anchors, unit=MILLISECONDS)
    stitches = np.array([c[name] for c in pair.raw["candidates"]], dtype=np.float64)
    unit = pair.unit
    if name == "params":
        largest = max(a["params"] for a in pair.document["anchors"])
        unit = MILLIONS if largest >= MILLIONS.scale else THOUSANDS
    return Costs(
        name=name,
        stitches=stitches,
        anchors={a["name"]: float(a[name]) for a in anchors},
        unit=unit,
    )


def envelope_along(
    costs: Costs, pair: Pair, chosen: NDArray[np.bool_], accuracy: Floats
) -> Envelope:
    """The envelope of some stitches and the pair's pretrained anchors (with a head) along an axis.

    Args:
        chosen: (N,) those that count; what has no accuracy or no cost is left out.
        accuracy: (N,).
    """
    known = chosen & np.isfinite(accuracy) & np.isfinite(costs.stitches)
    anchors = [a for a in pair.measured_anchors if a["name"] in costs.anchors]
    return envelope(
        np.append(costs.stitches[known], [costs.anchors[a["name"]] for a in anchors]),
        np.append(accuracy[known], [a["accuracy"] for a in anchors]),
    )


def above_anchors(
    costs: Costs, pair: Pair, chosen: NDArray[np.bool_], accuracy: Floats
) -> NDArray[np.bool_]:
    """(N,) the chosen stitches that lie strictly above the pretrained anchors' step envelope.

    Args:
        accuracy: (N,), NaN where not measured.
    """
    step = envelope_along(costs, pair, np.zeros_like(chosen), accuracy)
    floor = np.nan_to_num(step.at(costs.stitches), nan=0.0)
    with np.errstate(invalid="ignore"):
        return chosen & (accuracy > floor)
