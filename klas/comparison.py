"""The comparison: every method on the same candidates, with intervals. No torch here.

A choice made from scores is fixed when its curves are resampled; ranks and hits resample the
scores too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from klas.choice.agreement import (
    chance,
    containment,
    overlap,
    overlap_buckets,
    spearman,
    spearman_within,
    weighted_mean,
)
from klas.choice.bootstrap import interval
from klas.choice.curves import (
    Envelope,
    Points,
    area_replicates,
    gain_replicates,
    saving_replicates,
)
from klas.errors import SelectionError
from klas.evidence import REPLICATES, SEED, Bits, Evidence, Floats
from klas.exports import optional
from klas.results import Document, Pair, choose, method_choice, pairs_of
from klas.store import Store
from klas.study import METRICS, TIERS, Metric, Study, Tier

LEVEL = 0.95
BUDGETS = (0.0, 1 / 16, 1 / 4, 1.0)
"""Shares of the study's fine-tuning steps at which methods are compared."""

Tree = dict[str, Any]
"""Figures as nested tables. A leaf is (R + 1,): the figure itself, then its replicates; the same
with what it rests on; or None."""


class _Based(NamedTuple):
    """A figure, and what it rests on."""

    values: Floats  # (R + 1,)
    candidates: Floats | None = None  # (R + 1,) its weight beside those of other pairs
    pairs: int | None = None  # how many it joins


def budget_steps(study: Study) -> list[int]:
    """The fine-tuning steps of every budget, ascending."""
    return sorted({round(share * study.finetuning.steps) for share in BUDGETS})


def compare(
    document: Document, study: Study, store: Store, *, metrics: Sequence[Metric] = METRICS
) -> dict[str, Any]:
    """Every method's agreement with the oracle, its curves and its budgets, pair by pair and over
    all pairs: the ``klas-comparison`` form.

    The oracle is the accuracy of every candidate at tier ``tuned``. KLAS chooses as the study's
    selection says; a scored rival takes as many candidates in every bucket.

    Args:
        metrics: the methods that take part, ``kl`` among them. A figure over all pairs is of the
            pairs where each of them has it. The form has them all.

    Raises:
        SelectionError: scores or accuracies are not computed yet; says which stage to run.
    """
    evidence = Evidence(document, study, store)
    pairs = [pair for pair in pairs_of(document) if pair.in_space.any()]
    if not pairs:
        raise SelectionError("there is no pair with a candidate, so nothing can be compared")
    contests = [_Contest(pair, evidence, metrics) for pair in pairs]
    trees = [contest.figures() for contest in contests]
    anchors = [
        {
            **{name: a[name] for name in ("name", "digest", "macs", "params")},
            "val": _figure(evidence.anchor_accuracy(a["name"], "val")),
            "test": _figure(evidence.anchor_accuracy(a["name"], "test"))
            if evidence.trained_on == "test"
            else None,
        }
        for a in document["anchors"]
    ]
    return {
        "format": "klas-comparison",
        "version": 1,
        "study": study.model_dump(mode="json"),
        "made_with": document["made_with"],
        "task": document["task"],
        "accuracy_metric": document["accuracy_metric"],
        "anchors": anchors,
        "data": document["data"],
        "precision": document["precision"],
        "oracle": "tuned",
        "finetuned_on": evidence.trained_on,
        "bootstrap": {"replicates": REPLICATES, "level": LEVEL, "seed": SEED},
        "pairs": [{**c.facts(), **_figures(tree)} for c, tree in zip(contests, trees)],
        "all_pairs": _figures(_together(trees)),
    }


class _Contest:
    """All methods on one pair."""

    def __init__(self, pair: Pair, evidence: Evidence, metrics: Sequence[Metric]) -> None:
        self.pair = pair
        self.evidence = evidence
        spec = evidence.study.selection.model_copy(update={"metric": "kl"})
        self.sets: dict[Metric, Bits] = {m: method_choice(pair, spec, m) for m in metrics}
        self.bucket = choose(pair, spec).bucket
        self.accuracy = {
            tier: evidence.accuracy(pair, tier) for tier in TIERS if tier != "finetuned"
        }
        self.steps = evidence.study.finetuning.steps
        self.trained = {
            steps: {m: evidence.trained_accuracy(pair, c, steps) for m, c in self.sets.items()}
            for steps in budget_steps(evidence.study)
        }

    def facts(self) -> dict[str, Any]:
        """What is not a figure: who takes part, and what each method chose."""
        return {
            "source": self.pair.names[0],
            "target": self.pair.names[1],
            "buckets": overlap_buckets(self.bucket),
            "chosen": {metric: self._stitches(metric) for metric in self.sets},
        }

    def _stitches(self, metric: Metric) -> list[dict[str, Any]]:
        pair = self.pair
        trained = self.trained[self.steps][metric]
        scores = np.full(len(pair.macs), np.nan) if metric == "snnet" else pair.scores(metric)
        return [
            {
                "source_block": int(pair.stitches[row, 0]),
                "target_block": int(pair.stitches[row, 1]),
                "macs": int(pair.macs[row]),
                "bucket": None if self.bucket[row] < 0 else int(self.bucket[row]),
                "score": optional(scores[row]),
                "accuracy": {
                    **{tier: float(values[0, row]) for tier, values in self.accuracy.items()},
                    "finetuned": None if trained is None else float(trained[0, place]),
                },
            }
            for place, row in enumerate(np.flatnonzero(self.sets[metric]))
        ]

    def figures(self) -> Tree:
        """Agreement with the oracle, curves at every tier, budgets."""
        oracle = self.accuracy["tuned"]  # (R + 1, N)
        scored = [metric for metric in self.sets if metric != "snnet"]
        scores = self.evidence.scores(self.pair, scored)  # (K, R + 1, N)
        inside = self.pair.in_space
        hits = dict(zip(scored, overlap(scores, oracle, self.bucket)))
        rho = dict(zip(scored, spearman(scores[..., inside], oracle[:, inside])))
        ranked = spearman_within(scores, oracle, self.bucket)
        within: dict[Metric, _Based] = {m: _Based(*found) for m, *found in zip(scored, *ranked)}
        methods = {
            metric: {
                "overlap": hits.get(metric),
                "containment": containment(chosen & inside, oracle, self.bucket).astype(float),
                "spearman": rho.get(metric),
                "spearman_within": within.get(metric),
                **{tier: self._curve(metric, tier) for tier in TIERS},
                "budgets": {
                    str(steps): None
                    if (accuracy := found[metric]) is None
                    else self._areas(metric, accuracy, "finetuned")
                    for steps, found in self.trained.items()
                },
            }
            for metric, chosen in self.sets.items()
        }
        return {"chance": chance(oracle, self.bucket), "methods": methods}

    def _curve(self, metric: Metric, tier: Tier) -> Tree | None:
        """A method's areas at a tier, and what KLAS gains on it and saves against it."""
        mine, ours = self._at(metric, tier), self._at("kl", tier)
        if mine is None:
            return None
        found = self._areas(metric, mine, tier)
        names = ("gain", "greatest_gain", "saving", "greatest_saving")
        if metric == "kl" or ours is None:
            return {**found, **dict.fromkeys(names)}
        both = self._points("kl", ours, tier), self._points(metric, mine, tier)
        cheap, costly = (float(a["macs"]) for a in self.pair.cheap_and_costly)
        gains: tuple[Floats | None, ...] = (None, None)
        if cheap < costly:
            gains = gain_replicates(*both, cheap, costly), _greatest_gain(*both, cheap, costly)
        savings = saving_replicates(*both), _greatest_saving(*both)
        return {**found, **dict(zip(names, (*gains, *savings), strict=True))}

    def _points(self, metric: Metric, accuracy: Floats, tier: Tier) -> tuple[Floats, Floats]:
        """(M,) costs and (R + 1, M) accuracies of a method's stitches and the pair's anchors."""
        anchors = self.pair.measured_anchors
        costs = np.append(self.pair.macs[self.sets[metric]], [a["macs"] for a in anchors])
        return costs, np.column_stack([accuracy, *(self._anchor(a["name"], tier) for a in anchors)])

    def _areas(self, metric: Metric, accuracy: Floats, tier: Tier) -> Tree:
        cheap, costly = (
            (float(a["macs"]), self._anchor(a["name"], tier)) for a in self.pair.cheap_and_costly
        )
        return dict(area_replicates(self.pair.macs[self.sets[metric]], accuracy, cheap, costly))

    def _anchor(self, name: str, tier: Tier) -> Floats:
        split = self.evidence.trained_on if tier == "finetuned" else "val"
        return self.evidence.anchor_accuracy(name, split)

    def _at(self, metric: Metric, tier: Tier) -> Floats | None:
        """(R + 1, M) accuracies of what a method chose; None where nothing is measured."""
        if tier == "finetuned":
            return self.trained[self.steps][metric]
        return self.accuracy[tier][:, self.sets[metric]] if self.sets[metric].any() else None


def _greatest_gain(ours: Points, theirs: Points, low: float, high: float) -> Floats:
    """(…) the greatest `klas.choice.curves.gain` of points over points; NaN where they share no
    cost."""
    steps, others = _steps(ours), _steps(theirs)
    first = max(low, steps.costs[0], others.costs[0])
    costs = np.unique(np.concatenate([[first], steps.costs, others.costs]))
    costs = costs[(costs >= first) & (costs < high)]
    if not costs.size:
        return np.full(steps.accuracies.shape[:-1], np.nan)
    # Between two of these costs neither envelope moves.
    greatest: Floats = (steps.at(costs) - others.at(costs)).max(axis=-1)
    return greatest


def _greatest_saving(ours: Points, theirs: Points) -> Floats:
    """(…) the greatest `klas.choice.curves.saving` of points over points; NaN where it is None."""
    (cost, best), (price, reached) = (
        (s.costs, s.accuracies) for s in (_steps(ours), _steps(theirs))
    )
    bottom = np.maximum(best[..., :1], reached[..., :1])
    top = np.minimum(best[..., -1:], reached[..., -1:])
    # Up a step of ours their cost can only grow, so the ratio is greatest at its top.
    level = np.minimum(best, top)  # (…, K)
    behind = (reached[..., None, :] < level[..., None]).sum(axis=-1)  # (…, K)
    ratio = np.where(level > bottom, price[behind] / cost, -np.inf).max(axis=-1)
    greatest: Floats = np.where(np.isneginf(ratio), np.nan, ratio)
    return greatest


def _steps(points: Points) -> Envelope:
    """The envelope, with a step at every distinct cost and replicates before the last axis."""
    cost, accuracy = (np.asarray(p, dtype=np.float64) for p in points)
    order = np.argsort(cost)
    distinct, first = np.unique(cost[order], return_index=True)
    best = np.maximum.reduceat(accuracy[..., order], first, axis=-1)
    return Envelope(distinct, np.maximum.accumulate(best, axis=-1))


def _together(trees: Sequence[Tree]) -> Tree:
    """Over all pairs: hits are summed, ρ within buckets is of all their buckets together, and
    everything else is the mean over pairs; each over the pairs where every method has the figure,
    so that all methods are judged by the same pairs, and all budgets too."""
    methods = _joined("methods", _at_equal_budgets([tree["methods"] for tree in trees]))
    return {"chance": sum(tree["chance"] for tree in trees), "methods": methods}


def _at_equal_budgets(places: Sequence[Tree]) -> list[Tree]:
    """The methods, pair by pair, without the budgets that would join other pairs than the rest.

    A figure against the budget must be of the same pairs throughout. So there is place for the
    pairs that have, for all methods, as many budgets as any pair has.
    """
    complete: list[set[str]] = [set() for _ in places]
    for steps in next(iter(places[0].values()))["budgets"]:
        means = [
            {m: (found["budgets"][steps] or {}).get("mean_top1") for m, found in place.items()}
            for place in places
        ]
        for having, whole in zip(complete, _complete(means)):
            having |= {steps} if whole else set()
    shown = max(complete, key=lambda having: (len(having), sum(having <= c for c in complete)))
    return [
        {
            m: found
            | {
                "budgets": {
                    steps: areas if steps in shown <= having else None
                    for steps, areas in found["budgets"].items()
                }
            }
            for m, found in place.items()
        }
        for place, having in zip(places, complete)
    ]


def _joined(name: str, places: Sequence[Tree]) -> Tree:
    """By method, over all pairs.

    Args:
        name: of the place in the trees that is joined.
        places: pair by pair what each method has there: a table, a figure or None.
    """
    methods = list(places[0])
    tables = [node for place in places for node in place.values() if isinstance(node, dict)]
    if not tables:
        common = _comparable(places)
        return {
            m: _over_pairs(name, [leaf[m] for leaf in common])
            if common and m in common[0]
            else None
            for m in methods
        }
    found: Tree = {metric: {} for metric in methods}
    for inner in dict.fromkeys(inner for table in tables for inner in table):
        below = [{m: (node or {}).get(inner) for m, node in place.items()} for place in places]
        for metric, values in _joined(inner, below).items():
            found[metric][inner] = values
            if inner == "mean_top1":  # an int among figures: how many pairs the curve is of
                found[metric]["pairs"] = len(_comparable(below))
    return found


def _over_pairs(name: str, leaves: Sequence[Any]) -> _Based:
    """One method's figure, of some pairs."""
    if name == "spearman_within":
        rho, candidates = (np.stack(part, axis=-1) for part in list(zip(*leaves))[:2])
        return _Based(weighted_mean(rho, candidates), candidates.sum(axis=-1), len(leaves))
    join: Any = np.sum if name in ("overlap", "containment") else np.mean
    return _Based(join(leaves, axis=0), pairs=len(leaves))


def _comparable(places: Sequence[Tree]) -> list[Tree]:
    """The pairs where all methods have a figure, but for methods that have it nowhere: an order
    of its set, a gain on itself."""
    asked = _asked(places)
    return [
        {m: place[m] for m in asked} for place, whole in zip(places, _complete(places)) if whole
    ]


def _complete(places: Sequence[Tree]) -> list[bool]:
    """Which pairs are comparable."""
    asked = _asked(places)
    return [bool(asked) and all(_known(place[m]) for m in asked) for place in places]


def _asked(places: Sequence[Tree]) -> list[str]:
    return [m for m in places[0] if any(_known(place[m]) for place in places)]


def _known(leaf: Floats | _Based | None) -> bool:
    values = leaf.values if isinstance(leaf, _Based) else leaf
    return values is not None and not np.isnan(values[0])


def _figures(tree: Any) -> Any:
    """A tree of replicates as a tree of figures."""
    if isinstance(tree, dict):
        return {name: _figures(value) for name, value in tree.items()}
    return tree if isinstance(tree, int) else _figure(tree)


def _figure(leaf: Floats | _Based | None) -> dict[str, Any] | None:
    """A figure, its interval and what it rests on; None where it is undefined."""
    if leaf is None or not _known(leaf):
        return None
    values, candidates, pairs = leaf if isinstance(leaf, _Based) else _Based(leaf)
    low, high = interval(values[1:], LEVEL)
    ends = {"value": values[0], "low": low, "high": high}
    return {
        **{name: optional(float(end)) for name, end in ends.items()},
        **({} if candidates is None else {"candidates": int(candidates[0])}),
        **({} if pairs is None else {"pairs": pairs}),
    }
