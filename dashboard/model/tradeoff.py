"""What the trade-off shows of a pair: its columns, its methods' choices, its fixed ranges.

Pure functions of arrays; no widget.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from klas.results.costs import COSTS, CostName, Costs, Timings, costs_of, envelope_along
from klas.results.formatting import percent
from klas.results.pair import Pair, number
from klas.results.selections import own_or_fair_share
from klas.selection.buckets import Selection
from klas.selection.curves import Envelope
from klas.study import METRICS, SETS, TIERS, Metric, Tier

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]


class Limits(NamedTuple):
    """The ends of a slider over costs and its step, in the unit that is shown."""

    low: float
    high: float
    step: float


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A pair, and all of it that no control changes, read from its document once.

    Attributes:
        timings: its forward times, the machine of choice first; none if it was never timed.
    """

    pair: Pair
    timings: Timings | None = None

    @cached_property
    def costs(self) -> dict[CostName, Costs]:
        """Every axis of cost that is known."""
        known = [name for name in COSTS if name != "latency" or self.timings is not None]
        return {name: costs_of(self.pair, name, self.timings) for name in known}

    @cached_property
    def accuracy(self) -> dict[Tier, Floats]:
        """(N,) of the tiers that don't depend on the choice, NaN where not measured."""
        return {tier: self.pair.accuracy(tier) for tier in TIERS if tier != "finetuned"}

    @cached_property
    def facts(self) -> NDArray[np.object_]:
        """(N,) what the hover says of every candidate, whatever is chosen.

        A text each: Plotly copies arrays of objects element by element, several times.
        """
        pair = self.pair
        theta, theta_target = pair.raw["theta"], pair.raw["theta_target"]
        assert theta is not None
        assert theta_target is not None
        columns = zip(
            pair.stitches.tolist(),
            pair.raw["candidates"],
            pair.scores("kl"),
            *(self.accuracy[tier] for tier in ("zero_shot", "tuned")),
        )
        texts = [
            f"Γ = Ω / Σ = {gamma:.4g}<br>"
            f"Ω = {theta[i][j]:.4g} nats: source probe {i} ‖ target probe {j}<br>"
            f"Σ = {theta_target[j][j + 1]:.4g} nats: what the target's next block adds<br>"
            f"{candidate['macs'] / pair.unit.scale:.4g} {pair.unit.name}, "
            f"{candidate['params']:,} parameters{self._time(row)}<br>"
            f"zero_shot {percent(zero_shot)}, tuned {percent(tuned)}"
            for row, ((i, j), candidate, gamma, zero_shot, tuned) in enumerate(columns)
        ]
        return np.array(texts, dtype=object)

    def _time(self, row: int) -> str:
        """What the hover adds of a candidate's forward time."""
        times = self.timings
        if times is None:
            return ""
        spread = f"{times.low[row]:.3g} to {times.high[row]:.3g}"
        return f"<br>{times.median[row]:.3g} ms a forward pass ({spread})"


class Curve(NamedTuple):
    """What a method chose, and how well that does at a tier."""

    metric: Metric
    chosen: Bits
    accuracy: Floats


def curves(
    pair: Pair,
    picked: Selection,
    own: Metric,
    wanted: Iterable[Metric],
    accuracy: Callable[[Metric, Bits], Floats | None],
) -> tuple[list[Curve], list[Metric], list[Metric]]:
    """The methods' choices at a tier, sorted by whether they are measured.

    Every rival takes in each bucket as many candidates as ``own`` took; SN-Net's set is taken as
    it is, and of a race what it kept. What chooses nothing is none of them.

    Args:
        picked: what ``own`` chose.
        wanted: the methods in question.
        accuracy: (N,) of a method's choice at the tier; None where it was not measured.

    Returns:
        The choices that are measured, the methods whose scores are not computed, and those whose
        choices are not measured.
    """
    drawn: list[Curve] = []
    unscored: list[Metric] = []
    unmeasured: list[Metric] = []
    for metric in METRICS:
        if metric not in wanted:
            continue
        if metric != own and _lacks_score(pair, picked, metric):
            unscored.append(metric)
            continue
        chosen = own_or_fair_share(pair, picked, own, metric)
        accuracies = accuracy(metric, chosen) if chosen.any() else None
        if accuracies is not None and (
            metric == "race" or not pair.unmeasured(accuracies, chosen).any()
        ):
            drawn.append(Curve(metric, chosen & np.isfinite(accuracies), accuracies))
        elif chosen.any():
            unmeasured.append(metric)
    return drawn, unscored, unmeasured


def _lacks_score(pair: Pair, picked: Selection, metric: Metric) -> bool:
    """Whether a score is not computed where it would have to choose; a set has none."""
    if metric in SETS:
        return False
    return bool(np.isnan(pair.scores(metric)[picked.bucket >= 0]).any())


def within(curve: Curve, inside: Bits) -> Curve:
    """A curve of those stitches alone that lie inside a range of cost."""
    return curve._replace(chosen=curve.chosen & inside)


def steps(costs: Costs, pair: Pair, curve: Curve) -> Envelope:
    """A curve's envelope with the pair's anchors along an axis of cost."""
    return envelope_along(costs, pair, curve.chosen, curve.accuracy)


def limits(costs: Costs) -> Limits:
    """A slider that takes in every candidate and anchor, in steps of 1, 2 or 5 × 10ⁿ."""
    every = np.append(costs.stitches, list(costs.anchors.values())) / costs.unit.scale
    every = every[np.isfinite(every)]
    if not every.size:
        return Limits(0.0, 1.0, 0.01)
    low, high = float(every.min()), float(every.max())
    rough = max(high - low, abs(high) / 100, 1e-9) / 100
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(power * next(m for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9)))
    first, last = np.floor(low / step), np.ceil(high / step)
    digits = max(0, -int(np.floor(np.log10(step))))
    return Limits(
        round(float(first * step), digits),
        round(float(max(last, first + 1) * step), digits),
        round(step, digits),
    )


def clamped(asked: tuple[float, float] | None, to: Limits) -> tuple[float, float]:
    """A range as far as a slider has it; all of it where they have nothing in common."""
    if asked is None:
        return to.low, to.high
    low, high = max(asked[0], to.low), min(asked[1], to.high)
    return (low, high) if low <= high else (to.low, to.high)


def inside(costs: Costs, bounds: tuple[float, float], step: float) -> Bits:
    """(N,) the candidates whose cost is known and in a range of the unit that is shown."""
    shown = costs.stitches / costs.unit.scale
    slack = 1e-6 * step  # the slider's numbers are rounded
    return (shown >= bounds[0] - slack) & (shown <= bounds[1] + slack)


def heights(sheet: Sheet, tier: Tier, drawn: Iterable[Curve]) -> tuple[float, float]:
    """The accuracy axis of a pair, as :func:`accuracy_range` has it."""
    anchors = [number(a["accuracy"]) for a in sheet.pair.measured_anchors]
    if tier == "finetuned":
        return accuracy_range(anchors, [c.accuracy[c.chosen] for c in drawn], tier)
    return accuracy_range(anchors, [sheet.accuracy[tier]], tier)


def accuracy_range(
    anchors: Sequence[float], measured: Iterable[Floats], tier: Tier
) -> tuple[float, float]:
    """An accuracy axis, in percent: the same whatever is chosen.

    It takes in the anchors and every candidate of the tier. Of ``finetuned`` only what was chosen
    is known, and that lies about the anchors: the axis goes as far below the worst one as the
    best one lies above it, and further where it has to.

    Args:
        anchors: their accuracies in [0, 1].
        measured: arrays of accuracies, NaN where not measured: of every candidate, of
            ``finetuned`` of what is drawn.
    """
    about = list(anchors)
    if tier == "finetuned" and about:
        about.append(max(2 * min(about) - max(about), 0.0))
    every = np.concatenate([np.array(about, dtype=np.float64), *measured])
    every = 100 * every[np.isfinite(every)]
    if not every.size:
        return 0.0, 100.0
    pad = max(0.07 * (every.max() - every.min()), 0.5)
    return float(every.min() - pad), float(every.max() + pad)
