"""The comparison: every method on the same candidates, with intervals. No torch here.

A choice made from scores is fixed when its curves are resampled; ranks and hits resample the
scores too.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from klas.errors import SelectionError
from klas.results.documents.comparison import (
    ByMethod,
    ComparedAnchor,
    ComparedPair,
    ComparedStitch,
    Comparison,
    Figure,
)
from klas.results.documents.numbers import optional, optional_number
from klas.results.pair import Document, Pair, pairs_of
from klas.results.resampling import REPLICATES, SEED, Bits, Floats, ResampledStudy
from klas.results.selections import choose, own_or_fair_share, racing_in
from klas.results.trainings import budget_steps
from klas.selection.aggregate import Tree, WeightedFigure, over_pairs
from klas.selection.agreement import (
    chance,
    containment,
    overlap,
    overlap_buckets,
    spearman,
    spearman_within,
)
from klas.selection.bootstrap import interval
from klas.selection.buckets import OUTSIDE
from klas.selection.curves import area_replicates, gain_replicates, saving_replicates
from klas.storage.store import Store
from klas.study import METRICS, SETS, TIERS, Metric, Study, Tier

LEVEL = 0.95


def compare(
    document: Document, study: Study, store: Store, *, metrics: Sequence[Metric] = METRICS
) -> Comparison:
    """Every method's agreement with the oracle, its curves and its budgets.

    Pair by pair and over all pairs, in the ``klas-comparison`` form.

    The oracle is the accuracy of every candidate at tier ``tuned``. KLAS chooses as the study's
    selection says; a scored rival takes as many candidates in every bucket.

    Args:
        metrics: the methods that take part, ``kl`` among them; the JSON form asks for all of them.
            A figure over all pairs covers the pairs where every one of them has it.

    Raises:
        SelectionError: scores or accuracies are not computed yet; says which stage to run.
    """
    resampled = ResampledStudy(document, study, store)
    pairs = [pair for pair in pairs_of(document) if pair.in_space.any()]
    if not pairs:
        raise SelectionError("there is no pair with a candidate, so nothing can be compared")
    contests = [_Contest(pair, resampled, metrics) for pair in pairs]
    trees = [contest.figures() for contest in contests]
    anchors: list[ComparedAnchor] = [
        {
            "name": a["name"],
            "digest": a["digest"],
            "macs": a["macs"],
            "params": a["params"],
            "val": _figure(resampled.anchor_accuracy(a["name"], "val")),
            "test": _figure(resampled.anchor_accuracy(a["name"], "test"))
            if resampled.trained_on == "test"
            else None,
        }
        for a in document["anchors"]
    ]
    return {
        "format": "klas-comparison",
        "version": 1,
        "study": study.content(),
        "made_with": document["made_with"],
        "task": document["task"],
        "accuracy_metric": document["accuracy_metric"],
        "anchors": anchors,
        "data": document["data"],
        "precision": document["precision"],
        "oracle": "tuned",
        "finetuned_on": resampled.trained_on,
        "bootstrap": {"replicates": REPLICATES, "level": LEVEL, "seed": SEED},
        "pairs": [contest.entry(_figures(tree)) for contest, tree in zip(contests, trees)],
        "all_pairs": _figures(over_pairs(trees)),
    }


class _Contest:
    """All methods on one pair."""

    def __init__(self, pair: Pair, resampled: ResampledStudy, metrics: Sequence[Metric]) -> None:
        self.pair = pair
        self.resampled = resampled
        spec = resampled.study.selection.model_copy(update={"metric": "kl"})
        ours = choose(pair, spec)
        self.sets: dict[Metric, Bits] = {
            metric: own_or_fair_share(pair, ours, "kl", metric) for metric in metrics
        }
        self.bucket = ours.bucket
        self.accuracy = {
            tier: resampled.accuracy(pair, tier) for tier in TIERS if tier != "finetuned"
        }
        # What diverged has no accuracy that a score could have foreseen.
        self.judged = ~np.isnan(self.accuracy["tuned"][0])
        self.judged_bucket = np.where(self.judged, ours.bucket, OUTSIDE)
        self.steps = resampled.study.finetuning.steps
        self.trained = {
            steps: {
                m: resampled.trained_accuracy(pair, c, steps, racing_in(ours, m))
                for m, c in self.sets.items()
            }
            for steps in budget_steps(resampled.study)
        }
        if "race" in self.sets and (raced := self.trained[self.steps]["race"]) is not None:
            self.sets["race"] = raced.kept  # before, it is who starts

    def entry(self, figures: Any) -> ComparedPair:
        """The pair's part of the document.

        Args:
            figures: those of :meth:`figures`, without their replicates.
        """
        chosen = {metric: self._stitches(metric) for metric in self.sets}
        return {
            "source": self.pair.names[0],
            "target": self.pair.names[1],
            "buckets": overlap_buckets(self.judged_bucket),
            "chosen": cast(ByMethod[list[ComparedStitch]], chosen),
            "chance": figures["chance"],
            "methods": figures["methods"],
            "anchors_alone": {
                str(steps): {
                    name: _figure(values)
                    for name, values in self.resampled.anchors_alone(self.pair, steps).items()
                }
                for steps in self.trained
                if steps
            },
        }

    def _stitches(self, metric: Metric) -> list[ComparedStitch]:
        pair = self.pair
        trained = self.trained[self.steps][metric]
        scores = np.full(len(pair.macs), np.nan) if metric in SETS else pair.scores(metric)
        return [
            {
                "source_block": int(pair.stitches[row, 0]),
                "target_block": int(pair.stitches[row, 1]),
                "macs": int(pair.macs[row]),
                "bucket": None if self.bucket[row] < 0 else int(self.bucket[row]),
                "score": optional(scores[row]),
                "accuracy": {
                    "zero_shot": float(self.accuracy["zero_shot"][0, row]),
                    "tuned": optional(self.accuracy["tuned"][0, row]),
                    "finetuned": None if trained is None else float(trained.accuracy[0, place]),
                },
            }
            for place, row in enumerate(np.flatnonzero(self.sets[metric]))
        ]

    def figures(self) -> Tree:
        """Agreement with the oracle, curves at every tier, budgets."""
        oracle = self.accuracy["tuned"]  # (R + 1, N)
        scored = [metric for metric in self.sets if metric not in SETS]
        scores = self.resampled.scores(self.pair, scored)  # (K, R + 1, N)
        inside, bucket = self.pair.in_space & self.judged, self.judged_bucket
        best = dict(zip(scored, overlap(scores, oracle, bucket)))
        overall = dict(zip(scored, spearman(scores[..., inside], oracle[:, inside])))
        ranked = spearman_within(scores, oracle, bucket)
        within: dict[Metric, WeightedFigure] = {
            m: WeightedFigure(*rho) for m, *rho in zip(scored, *ranked)
        }
        methods = {
            metric: {
                "overlap": best.get(metric),
                # A race looks at more than it keeps, and with other networks than the oracle's.
                "containment": None
                if metric == "race"
                else containment(chosen & inside, oracle, bucket).astype(float),
                "spearman": overall.get(metric),
                "spearman_within": within.get(metric),
                **{tier: self._curve(metric, tier) for tier in TIERS},
                "budgets": {
                    str(steps): None
                    if (ended := trained[metric]) is None
                    else self._areas(ended.kept, ended.accuracy, "finetuned")
                    for steps, trained in self.trained.items()
                },
            }
            for metric, chosen in self.sets.items()
        }
        return {"chance": chance(oracle, bucket), "methods": methods}

    def _curve(self, metric: Metric, tier: Tier) -> Tree | None:
        """A method's areas at a tier, and what KLAS gains on it and saves against it."""
        mine, ours = self._at(metric, tier), self._at("kl", tier)
        if mine is None:
            return None
        curve = self._areas(*mine, tier)
        names = ("gain", "greatest_gain", "saving", "greatest_saving")
        if metric == "kl" or ours is None:
            return {**curve, **dict.fromkeys(names)}
        both = self._points(*ours, tier), self._points(*mine, tier)
        cheap, costly = (float(a["macs"]) for a in self.pair.cheap_and_costly)
        gains: tuple[Floats | None, ...] = (None, None)
        if cheap < costly:
            gains = gain_replicates(*both, cheap, costly)
        savings = saving_replicates(*both)
        return {**curve, **dict(zip(names, (*gains, *savings), strict=True))}

    def _points(self, rows: Bits, accuracy: Floats, tier: Tier) -> tuple[Floats, Floats]:
        """(M,) costs and (R + 1, M) accuracies of a method's stitches and the pair's anchors."""
        anchors = self.pair.measured_anchors
        costs = np.append(self.pair.macs[rows], [a["macs"] for a in anchors])
        return costs, np.column_stack([accuracy, *(self._anchor(a["name"], tier) for a in anchors)])

    def _areas(self, rows: Bits, accuracy: Floats, tier: Tier) -> Tree:
        cheap, costly = (
            (float(a["macs"]), self._anchor(a["name"], tier)) for a in self.pair.cheap_and_costly
        )
        return dict(area_replicates(self.pair.macs[rows], accuracy, cheap, costly))

    def _anchor(self, name: str, tier: Tier) -> Floats:
        split = self.resampled.trained_on if tier == "finetuned" else "val"
        return self.resampled.anchor_accuracy(name, split)

    def _at(self, metric: Metric, tier: Tier) -> tuple[Bits, Floats] | None:
        """(N,) what a method chose and what has an accuracy at a tier, and that, (R + 1, M).

        None where nothing is measured. A race has stitches of its own at ``finetuned`` alone.
        """
        if tier == "finetuned":
            return self.trained[self.steps][metric]
        rows = self.sets[metric] & self.judged if tier == "tuned" else self.sets[metric]
        if metric == "race" or not rows.any():
            return None
        return rows, self.accuracy[tier][:, rows]


def _figures(tree: Any) -> Any:
    """A tree of replicates as a tree of figures, each with the numbers that it rests on."""
    if isinstance(tree, dict):
        return {name: _figures(value) for name, value in tree.items()}
    if not isinstance(tree, WeightedFigure):
        return tree if isinstance(tree, int) else _figure(tree)
    figure = _figure(tree.values)
    if figure is None:
        return None
    return {
        **figure,
        **({} if tree.candidates is None else {"candidates": int(tree.candidates[0])}),
        **({} if tree.pairs is None else {"pairs": tree.pairs}),
    }


def _figure(values: Floats | None) -> Figure | None:
    """A figure and its interval, of (R + 1,) values; None where it is undefined."""
    value = None if values is None else optional_number(float(values[0]))
    if values is None or value is None:
        return None
    low, high = interval(values[1:], LEVEL)
    return {
        "value": value,
        "low": optional_number(float(low)),
        "high": optional_number(float(high)),
    }
