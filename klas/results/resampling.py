"""A computed study, resampled: accuracies and scores of every bootstrap replicate.

Arrays have a first axis (R + 1,): the samples as they are, then R bootstrap replicates of them.
All methods, pairs and tiers see the same draws. No torch here.
"""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from klas.errors import SelectionError
from klas.results.keys import Keys
from klas.results.pair import Document, Pair
from klas.results.result import (
    OUTCOMES,
    Result,
    TestOutcomes,
    Tuned,
    Validation,
    ZeroShot,
    outcomes_of,
)
from klas.results.score_sums import read_score_sums
from klas.results.trainings import anchors_training, joint_training
from klas.selection.bootstrap import block_of, draws
from klas.selection.scores import ScoreSums, candidate_scores
from klas.selection.space import name_of
from klas.storage.store import Store
from klas.study import Metric, Study, Tier
from klas.tasks.metric import AccuracyMetric
from klas.tasks.task import task_named

REPLICATES = 1_000
SEED = 0

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
Integers = NDArray[np.int64]
JudgingSplit = Literal["val", "test"]


class Samples:
    """The samples of a split in fixed blocks, and how often each block counts."""

    def __init__(self, samples: int, metric: AccuracyMetric) -> None:
        """Draw the replicates.

        Args:
            samples: N.
            metric: what outcomes are made into.
        """
        self.samples = samples
        self.blocks = block_of(samples)
        self.sizes = np.bincount(self.blocks)
        once = np.ones((1, len(self.sizes)), dtype=np.int64)
        self.weights = np.concatenate([once, draws(len(self.sizes), REPLICATES, SEED)])
        self._metric = metric

    def accuracy(self, sums: Sequence[Floats]) -> Floats:
        """(R + 1, M) of M networks.

        Args:
            sums: of their outcomes, M times (B, …).
        """
        return self._metric.replicates(np.stack(sums), self.sizes, self.weights)

    def packed_sums(self, packed: NDArray[Any]) -> Floats:
        """(B, …) sums of stored outcomes."""
        return self._metric.packed_sums(packed, self.samples)

    def sums_of_anchor(self, validation: Mapping[str, Any]) -> Floats:
        """(B, …) sums of an anchor's outcomes, from what its pass over the samples stored."""
        return self._metric.block_sums(self._metric.of_anchor(validation), self.blocks)


class Trained(NamedTuple):
    """A joint training, resampled.

    Attributes:
        kept: (N,) the M candidates that were trained to the end: all but what a race dropped.
        accuracy: (R + 1, M) of these.
    """

    kept: Bits
    accuracy: Floats


class ResampledStudy:
    """A computed study, seen through its store."""

    def __init__(self, document: Document, study: Study, store: Store) -> None:
        """See a study.

        Args:
            document: its scores document.
        """
        self.study = study
        self.data = document["data"]
        self.anchor_accuracy = cache(self._anchor_accuracy)
        self._store = store
        self._keys = Keys.of_document(document, study)
        self._metric = task_named(document["task"]).metric

    @property
    def trained_on(self) -> JudgingSplit:
        """The split that jointly trained networks are measured on: the one that no choice saw."""
        return "val" if self.data["test"] is None else "test"

    @cached_property
    def val(self) -> Samples:
        """The validation samples."""
        return Samples(self.data["val"]["samples"], self._metric)

    @cached_property
    def judging(self) -> Samples:
        """The samples of :attr:`trained_on`."""
        test = self.data["test"]
        return self.val if test is None else Samples(test["samples"], self._metric)

    def scores(self, pair: Pair, metrics: Sequence[Metric]) -> Floats:
        """(K, R + 1, N) of every candidate.

        Raises:
            SelectionError: they are not computed yet.
        """
        sums = self.sums(pair)
        weights = self.val.weights.astype(np.float64)
        scores = candidate_scores(sums, pair.stitches, weights)
        scores["random"] = np.broadcast_to(pair.scores("random"), (len(weights), len(pair.macs)))
        return np.stack([scores[metric] for metric in metrics])

    def sums(self, pair: Pair) -> ScoreSums:
        """What the scores of every candidate are made of, per block.

        Raises:
            SelectionError: they are not computed yet.
        """
        sums = read_score_sums(self._get, self.val.samples, *pair.names)
        if sums is None:
            raise SelectionError(f"{pair.name}: the scores are not computed; run `klas run`")
        return sums

    def accuracy(self, pair: Pair, tier: Tier) -> Floats:
        """(R + 1, N) of every candidate at ``zero_shot`` or ``tuned``; NaN where that diverged.

        Raises:
            SelectionError: they are not measured yet.
        """
        source, target = pair.names
        kind = ZeroShot if tier == "zero_shot" else Tuned
        stored = self._get(kind(source=source, target=target))
        if stored is None:
            raise SelectionError(
                f"{pair.name}: the accuracies of tier {tier} are not measured yet; "
                f"run `klas run --until {tier}`"
            )
        packed = [stored.get(f"{name_of(place)}.{OUTCOMES}") for place in pair.everywhere]
        known = np.array([each is not None for each in packed], dtype=bool)
        accuracy = np.full((REPLICATES + 1, len(packed)), np.nan)
        if known.any():
            sums = [self.val.packed_sums(each) for each in packed if each is not None]
            accuracy[:, known] = self.val.accuracy(sums)
        return accuracy

    def trained_accuracy(
        self, pair: Pair, chosen: Bits, steps: int, racing: Integers | None = None
    ) -> Trained | None:
        """A selection after so many steps of joint training; None if that was not run.

        Args:
            racing: (N,) the buckets in which it races, if it does.
        """
        if not chosen.any():
            return None
        settings = self.study.finetuning.model_copy(update={"steps": steps})
        weights = joint_training(pair, chosen, settings, racing).weights
        stored = self._get(outcomes_of(weights, self.trained_on))
        if stored is None:
            return None
        kept = np.array([name_of(place) in stored for place in pair.everywhere], dtype=bool)
        packed = [stored[name_of(place)] for place in pair.places(kept)]
        accuracy = self.judging.accuracy([self.judging.packed_sums(each) for each in packed])
        return Trained(kept, accuracy)

    def anchors_alone(self, pair: Pair, steps: int) -> dict[str, Floats]:
        """(R + 1,) of each anchor, trained alone for so many steps; empty if that was not run."""
        settings = self.study.finetuning.model_copy(update={"steps": steps})
        weights = anchors_training(pair, settings).weights
        stored = self._get(outcomes_of(weights, self.trained_on)) if steps else None
        return {
            name: self.judging.accuracy([self.judging.packed_sums(packed)])[:, 0]
            for name, packed in (stored or {}).items()
        }

    def _get(self, result: Result) -> Any:
        """A stored result, or None."""
        return self._store.get(self._keys.of(result))

    def _anchor_accuracy(self, name: str, split: JudgingSplit) -> Floats:
        """(R + 1,) of a pretrained anchor; NaN where it has no head or was not measured."""
        sums = self._test_sums(name) if split == "test" else self._val_sums(name)
        if sums is None:
            return np.full(REPLICATES + 1, np.nan)
        samples = self.judging if split == "test" else self.val
        accuracy: Floats = samples.accuracy([sums])[:, 0]
        return accuracy

    def _test_sums(self, name: str) -> Floats | None:
        stored = self._get(TestOutcomes(anchor=name))
        return self.judging.packed_sums(stored[OUTCOMES]) if stored else None

    def _val_sums(self, name: str) -> Floats | None:
        stored: Mapping[str, Any] | None
        stored = self._get(Validation(anchor=name))
        if stored is None or not {"logits", "outcomes"} & stored.keys():  # it has no head
            return None
        return self.val.sums_of_anchor(stored)
