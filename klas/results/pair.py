"""A scores document seen as arrays: its pairs, their areas, their Pareto front. No torch here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from klas.results.documents.comparison import Comparison
from klas.results.documents.numbers import Number
from klas.results.documents.scores import CandidateTier, ScoredPair, ScoresDocument
from klas.results.documents.sources import AnchorEntry
from klas.results.documents.stitches import StitchList
from klas.selection.curves import Areas, areas, front_rows
from klas.selection.scores import theta_ce
from klas.study import SETS, Metric
from klas.tasks.task import Task, task_named

Document = ScoresDocument


class CostUnit(NamedTuple):
    """The unit that costs are shown in; the papers call multiply–accumulates FLOPs."""

    name: str
    papers: str
    scale: float

    @property
    def title(self) -> str:
        """The title of an axis of MACs."""
        return f"{self.name} (the papers' {self.papers})"


MEGA = CostUnit("MMACs", "MFLOPs", 1e6)
GIGA = CostUnit("GMACs", "GFLOPs", 1e9)


def cost_unit(document: Document | StitchList | Comparison) -> CostUnit:
    """GMACs, or MMACs where every anchor is too small for them."""
    return unit_for(anchor["macs"] for anchor in document["anchors"])


def unit_for(macs: Iterable[float]) -> CostUnit:
    """The unit that suits some networks' MACs."""
    return GIGA if max(macs) >= GIGA.scale / 10 else MEGA


def number(value: Number | None) -> float:
    """A number of the JSON forms: null is NaN (not computed), "inf" infinite."""
    if value is None:
        return float("nan")
    return float("inf") if value == "inf" else float(value)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One pair of a scores document. Arrays have a row per candidate, (N,) or (N, 2)."""

    document: Document
    index: int

    @property
    def raw(self) -> ScoredPair:
        """The pair as the document has it."""
        return self.document["pairs"][self.index]

    @property
    def name(self) -> str:
        """For people: source → target."""
        return f"{self.raw['source']} → {self.raw['target']}"

    @property
    def names(self) -> tuple[str, str]:
        """Source and target."""
        return self.raw["source"], self.raw["target"]

    def places(self, chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """(i, j) of the chosen candidates."""
        return [(int(i), int(j)) for i, j in self.stitches[chosen]]

    @property
    def everywhere(self) -> list[tuple[int, int]]:
        """(i, j) of all candidates."""
        return self.places(np.ones(len(self.macs), dtype=bool))

    @cached_property
    def unit(self) -> CostUnit:
        """What its costs are shown in."""
        return cost_unit(self.document)

    @property
    def task(self) -> Task:
        """What its networks are for; ``task.metric`` is what its accuracies are."""
        return task_named(self.document["task"])

    @cached_property
    def source(self) -> AnchorEntry:
        """The source anchor's entry."""
        return anchor_named(self.document, self.raw["source"])

    @cached_property
    def target(self) -> AnchorEntry:
        """The target anchor's entry."""
        return anchor_named(self.document, self.raw["target"])

    @cached_property
    def stitches(self) -> NDArray[np.int64]:
        """(N, 2): i and j."""
        rows = [(c["source_block"], c["target_block"]) for c in self.raw["candidates"]]
        return np.array(rows, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def macs(self) -> NDArray[np.float64]:
        """(N,) MACs of each stitch."""
        return np.array([c["macs"] for c in self.raw["candidates"]], dtype=np.float64)

    @cached_property
    def in_space(self) -> NDArray[np.bool_]:
        """(N,) whether a score may choose it."""
        return np.array([c["in_space"] for c in self.raw["candidates"]], dtype=bool)

    @cached_property
    def snnet(self) -> NDArray[np.bool_]:
        """(N,) whether SN-Net would take it."""
        return np.array([c["snnet"] for c in self.raw["candidates"]], dtype=bool)

    @cached_property
    def diverged(self) -> NDArray[np.bool_]:
        """(N,) whose tuning diverged: they have no accuracy at ``tuned``, and won't get one."""
        named = {(i, j) for i, j in self.raw.get("diverged", [])}
        return np.array([place in named for place in self.everywhere], dtype=bool)

    def unmeasured(
        self, accuracy: NDArray[np.float64], chosen: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """(N,) which of the chosen have no accuracy yet at a tier.

        Those that diverged have none to wait for.

        Args:
            accuracy: (N,) at the tier, NaN where not measured.
        """
        return chosen & np.isnan(accuracy) & ~self.diverged

    def scores(self, metric: Metric) -> NDArray[np.float64]:
        """(N,) the scores by a metric, lower is better; NaN where not computed.

        ``random`` is drawn, seeded by the study and the pair. The array is read once and must not
        be written to.
        """
        if metric not in self._scores:
            if metric == "random":
                seed = [self.document["study"]["seed"], crc32(self.name.encode())]
                scores = np.random.default_rng(seed).random(len(self.macs))
            elif metric == "theta_ce" and self._lacks(metric):  # an older document, with its parts
                scores = theta_ce(self.scores("theta"), self.scores("ce"))
            else:
                assert metric != "snnet", "a set has no scores"
                assert metric != "race", "a set has no scores"
                scores = np.array([number(c["scores"][metric]) for c in self.raw["candidates"]])
            scores.flags.writeable = False
            self._scores[metric] = scores
        return self._scores[metric]

    def _lacks(self, metric: Metric) -> bool:
        return any(metric not in c["scores"] for c in self.raw["candidates"])

    @cached_property
    def _scores(self) -> dict[str, NDArray[np.float64]]:
        return {}

    def accuracy(self, tier: CandidateTier) -> NDArray[np.float64]:
        """(N,) accuracies in [0, 1] at ``zero_shot`` or ``tuned``; NaN where not measured."""
        return np.array([number(c["accuracy"][tier]) for c in self.raw["candidates"]])

    def is_scored(self, metric: Metric) -> bool:
        """Whether stage ``scores`` is done, with a score for every candidate in the space.

        A set needs none.
        """
        if self.raw["theta"] is None:
            return False
        return metric in SETS or not np.isnan(self.scores(metric)[self.in_space]).any()

    @property
    def measured_anchors(self) -> list[AnchorEntry]:
        """The pair's anchors that have an accuracy of their own: a headless one has none."""
        return [a for a in self.cheap_and_costly if a["accuracy"] is not None]

    @property
    def cheap_and_costly(self) -> tuple[AnchorEntry, AnchorEntry]:
        """The pair's anchors in order of MACs."""
        first, second = sorted((self.source, self.target), key=lambda a: a["macs"])
        return first, second


def pairs_of(document: Document) -> list[Pair]:
    """Every pair of the document, in its order."""
    return [Pair(document=document, index=k) for k in range(len(document["pairs"]))]


def of_pairs(document: Document, pairs: Sequence[Pair]) -> Document:
    """The document with only these of its pairs."""
    return {**document, "pairs": [pair.raw for pair in pairs]}


def anchor_named(document: Document, name: str) -> AnchorEntry:
    """The entry of one anchor."""
    return next(a for a in document["anchors"] if a["name"] == name)


def method_areas(pair: Pair, chosen: NDArray[np.bool_], accuracy: NDArray[np.float64]) -> Areas:
    """The areas of one method's stitches, measured at one tier."""
    cheap, costly = pair.cheap_and_costly
    if len(pair.measured_anchors) < 2:
        return Areas(
            auc=None,
            auc_stitches=None,
            area_top1=None,
            mean_top1=float(accuracy[chosen].mean()) if chosen.any() else None,
            reason="an anchor has no accuracy of its own",
        )
    return areas(
        pair.macs[chosen],
        accuracy[chosen],
        (cheap["macs"], number(cheap["accuracy"])),
        (costly["macs"], number(costly["accuracy"])),
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is chosen of one pair, and how well it does: (N,) each, NaN where not measured."""

    pair: Pair
    chosen: NDArray[np.bool_]
    accuracy: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """A network that no cheaper one equals: an anchor (``stitch`` None) or a stitch of a pair."""

    name: str  # the anchor's, or the pair's
    stitch: tuple[int, int] | None
    macs: float
    accuracy: float


def front(choices: Sequence[Choice]) -> list[FrontPoint]:
    """The common Pareto front of all chosen stitches and the anchors of their pairs, by cost.

    What is not measured is left out. Among equals an anchor comes first, then the earlier pair.
    """
    anchors = {a["name"]: a for c in choices for a in (c.pair.source, c.pair.target)}
    points = [
        FrontPoint(name=n, stitch=None, macs=a["macs"], accuracy=number(a["accuracy"]))
        for n, a in anchors.items()
    ]
    points += [
        FrontPoint(
            name=c.pair.name,
            stitch=(int(c.pair.stitches[row, 0]), int(c.pair.stitches[row, 1])),
            macs=float(c.pair.macs[row]),
            accuracy=float(c.accuracy[row]),
        )
        for c in choices
        for row in np.flatnonzero(c.chosen)
    ]
    return [points[k] for k in front_rows([p.macs for p in points], [p.accuracy for p in points])]
