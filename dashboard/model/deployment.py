"""What there is to deploy: the networks of a pair, or of all pairs, and what a budget pays.

Pure functions of arrays; no widget.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.model.tradeoff import Curve, Floats
from klas.results.costs import Costs
from klas.results.documents.sources import AnchorEntry
from klas.results.pair import Choice, Document, Pair
from klas.selection.budget import Pick, pick_by_accuracy
from klas.study import Metric, Tier


@dataclass(frozen=True, kw_only=True)
class Network:
    """An anchor as it was pretrained, or a stitch as it was measured at a tier.

    Attributes:
        name: the anchor's, or i → j.
        cost: in plain units.
        accuracy: in [0, 1].
        pair, row: where a stitch is among the candidates; None of an anchor.
        method: whose choice was trained jointly, for the same stitch has other weights in
            another training; None where that makes no difference.
    """

    name: str
    cost: float
    accuracy: float
    pair: Pair | None = None
    row: int | None = None
    method: Metric | None = None


@dataclass(frozen=True, kw_only=True)
class Deployable:
    """The networks that are measured, anchors first, and the tier of their stitches."""

    networks: Sequence[Network]
    tier: Tier

    @property
    def costs(self) -> Floats:
        """(M,) in plain units."""
        return np.array([n.cost for n in self.networks], dtype=np.float64)

    @property
    def accuracies(self) -> Floats:
        """(M,) in [0, 1]."""
        return np.array([n.accuracy for n in self.networks], dtype=np.float64)

    @property
    def stitches(self) -> list[Network]:
        """Those that are no anchors."""
        return [n for n in self.networks if n.pair is not None]

    def pick(self, budget: float) -> Pick | None:
        """The most accurate that costs at most so much; None if there is none."""
        return pick_by_accuracy(self.costs, self.accuracies, budget)

    def cheapest(self) -> Network | None:
        """The cheapest network; None if there is none at all."""
        return min(self.networks, key=lambda n: n.cost, default=None)


def deployable_of_pair(
    pair: Pair,
    costs: Costs,
    accuracies: Mapping[Tier, Floats | None],
    tier: Tier,
    trained: Sequence[Curve] = (),
) -> Deployable:
    """What a pair has to deploy: its anchors, and its stitches at one tier.

    A network's accuracy is never filled up from another tier.

    Args:
        accuracies: (N,) by tier, NaN or None where not measured.
        trained: of ``finetuned``, the methods' choices that are trained jointly. Of equals the
            earlier method's counts.
    """
    networks = _anchors(pair.measured_anchors, costs.anchors)
    if tier == "finetuned":
        for curve in trained:
            accuracy = np.where(curve.chosen, curve.accuracy, np.nan)
            networks += _stitches(pair, costs.stitches, accuracy, curve.metric)
    elif (measured := accuracies[tier]) is not None:
        networks += _stitches(pair, costs.stitches, measured)
    return Deployable(networks=networks, tier=tier)


def deployable_of_study(
    document: Document, choices: Sequence[Choice], costs: Costs, tier: Tier, metric: Metric
) -> Deployable:
    """What a study has to deploy: every anchor, and what a score chose of several pairs.

    Args:
        choices: with their accuracies at the tier.
        costs: of the choices' candidates one after another, as :func:`joined` has them.
        metric: what chose.
    """
    networks = _anchors(document["anchors"], costs.anchors)
    trained_with = metric if tier == "finetuned" else None
    ends = np.cumsum([len(c.chosen) for c in choices])[:-1]
    for choice, values in zip(choices, np.split(costs.stitches, ends)):
        accuracy = np.where(choice.chosen, choice.accuracy, np.nan)
        networks += _stitches(choice.pair, values, accuracy, trained_with)
    return Deployable(networks=networks, tier=tier)


def joined(document: Document, each: Sequence[Costs]) -> Costs:
    """The costs of several pairs as one: their candidates in order, and every anchor.

    A time of an anchor is that of the first pair with which it was timed; of what was not timed
    there is none.
    """
    name, unit = each[0].name, each[0].unit
    anchors: dict[str, float] = {}
    if name == "latency":
        for costs in reversed(each):
            anchors |= costs.anchors
    else:
        anchors = {a["name"]: float(a[name]) for a in document["anchors"]}
    stitches = np.concatenate([costs.stitches for costs in each])
    return Costs(name=name, stitches=stitches, anchors=anchors, unit=unit)


def better(than: Network | None, others: Deployable, budget: float) -> Network | None:
    """The best of other networks within a budget, if it is better than one network.

    That is, more accurate, or as accurate and cheaper. With nothing to compare it with, it is
    returned whatever it is.
    """
    first = [] if than is None else [than]
    every = Deployable(networks=[*first, *others.networks], tier=others.tier)
    pick = every.pick(budget)
    best = None if pick is None else every.networks[pick.best]
    return None if best is than else best


def _anchors(entries: Iterable[AnchorEntry], costs: Mapping[str, float]) -> list[Network]:
    return [
        Network(name=a["name"], cost=costs[a["name"]], accuracy=a["accuracy"])
        for a in entries
        if a["accuracy"] is not None and a["name"] in costs
    ]


def _stitches(
    pair: Pair, costs: Floats, accuracy: Floats, method: Metric | None = None
) -> list[Network]:
    rows = np.flatnonzero(np.isfinite(accuracy) & np.isfinite(costs))
    return [
        Network(
            name="{} → {}".format(*pair.stitches[row]),
            cost=float(costs[row]),
            accuracy=float(accuracy[row]),
            pair=pair,
            row=int(row),
            method=method,
        )
        for row in rows.tolist()
    ]
