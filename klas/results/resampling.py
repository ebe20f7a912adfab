"""What the store holds for a comparison, resampled: accuracies and scores of every replicate.

Arrays have a first axis (R + 1,): the samples as they are, then R bootstrap replicates of them.
All methods, pairs and tiers see the same draws. No torch here.
"""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from klas.errors import SelectionError
from klas.results import keys
from klas.results.pair import Document, Pair, hits_key, trained_hits_key
from klas.results.score_sums import read_score_sums
from klas.selection.bootstrap import block_of, block_sums, draws, means
from klas.selection.scores import candidate_scores
from klas.storage.arrays import chunks
from klas.storage.store import Store
from klas.study import Metric, Study, Tier

REPLICATES = 1_000
SEED = 0
CHUNK = 500  # rows of logits that are read at a time

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
SplitName = Literal["val", "test"]


class Split:
    """The samples of a split in fixed blocks, and how often each block counts."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.blocks = block_of(samples)
        self.sizes = np.bincount(self.blocks)
        once = np.ones((1, len(self.sizes)), dtype=np.int64)
        self.weights = np.concatenate([once, draws(len(self.sizes), REPLICATES, SEED)])

    def accuracy(self, hits: Sequence[Bits]) -> Floats:
        """M times (N,) bits to (R + 1, M)."""
        sums = block_sums(np.stack(hits), self.blocks)
        return means(sums, self.sizes, self.weights)

    def unpacked(self, packed: NDArray[np.uint8]) -> Bits:
        """(N,) bits as they were before they were packed."""
        return np.unpackbits(packed, count=self.samples).astype(bool)


class Evidence:
    """A computed study, seen through its store."""

    def __init__(self, document: Document, study: Study, store: Store) -> None:
        self.study = study
        self.data = document["data"]
        self.precision = document["precision"]
        self._store = store
        self.anchor_accuracy = cache(self._anchor_accuracy)
        self._anchors = {a["name"]: a for a in document["anchors"]}

    @property
    def trained_on(self) -> SplitName:
        """The split that jointly trained networks are judged by: that which no choice saw."""
        return "val" if self.data["test"] is None else "test"

    @cached_property
    def val(self) -> Split:
        """The validation samples."""
        return Split(self.data["val"]["samples"])

    @cached_property
    def judging(self) -> Split:
        """The samples of :attr:`trained_on`."""
        return self.val if self.trained_on == "val" else Split(self.data["test"]["samples"])

    def scores(self, pair: Pair, metrics: Sequence[Metric]) -> Floats:
        """(K, R + 1, N) of every candidate.

        Raises:
            SelectionError: they are not computed yet.
        """
        every = pair.everywhere
        anchors = (pair.source, pair.target)
        sums = read_score_sums(self._store, self.study, self.data, self.precision, anchors, every)
        if sums is None:
            raise SelectionError(f"{pair.name}: the scores are not computed; run `klas run`")
        weights = self.val.weights.astype(np.float64)
        found = candidate_scores(sums, pair.stitches, weights)
        found["random"] = np.broadcast_to(pair.scores("random"), (len(weights), len(pair.macs)))
        return np.stack([found[metric] for metric in metrics])

    def accuracy(self, pair: Pair, tier: Tier) -> Floats:
        """(R + 1, N) of every candidate at ``zero_shot`` or ``tuned``.

        Raises:
            SelectionError: they are not measured yet.
        """
        stored = self._store.get(hits_key(pair, self.study, tier))
        if stored is None:
            raise SelectionError(
                f"{pair.name}: the accuracies of tier {tier} are not measured yet; "
                f"run `klas run --until {tier}`"
            )
        packed = [stored[f"{i}-{j}.hits"] for i, j in pair.stitches]
        return self.val.accuracy([self.val.unpacked(bits) for bits in packed])

    def trained_accuracy(self, pair: Pair, chosen: Bits, steps: int) -> Floats | None:
        """(R + 1, M) of a selection after so many steps of joint training; None before it."""
        if not chosen.any():
            return None
        finetuning = self.study.finetuning.model_copy(update={"steps": steps})
        study = self.study.model_copy(update={"finetuning": finetuning})
        stored = self._store.get(trained_hits_key(pair, chosen, study, self.trained_on))
        if stored is None:
            return None
        packed = [stored[f"{i}-{j}"] for i, j in pair.places(chosen)]
        return self.judging.accuracy([self.judging.unpacked(bits) for bits in packed])

    def _anchor_accuracy(self, name: str, split: SplitName) -> Floats:
        """(R + 1,) of a pretrained anchor; NaN where it has no head or was not measured."""
        anchor = self._anchors[name]
        hits = self._test_hits(anchor) if split == "test" else self._val_hits(anchor)
        if hits is None:
            return np.full(REPLICATES + 1, np.nan)
        found: Floats = (self.judging if split == "test" else self.val).accuracy([hits])[:, 0]
        return found

    def _test_hits(self, anchor: Mapping[str, Any]) -> Bits | None:
        stored = self._store.get(keys.outputs_key(anchor, self.data["test"], self.precision))
        return self.judging.unpacked(stored["hits"]) if stored else None

    def _val_hits(self, anchor: Mapping[str, Any]) -> Bits | None:
        pool = self.study.probes.pool
        key = keys.validation_key(anchor, self.data["val"], pool, self.precision)
        stored = self._store.get(key)
        if stored is None or "logits" not in stored:
            return None
        guesses = [part.argmax(1) for part in chunks(stored["logits"], CHUNK)]
        found: Bits = np.concatenate(guesses) == stored["labels"]
        return found
