"""How well a network does at a task: one number, made of sums over samples. No torch here.

What is measured of a network is an *outcome* for every sample. Its sums over fixed blocks of
samples are all that a figure and its interval need, so a result stores no more than these follow
from.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from klas.selection.bootstrap import block_of, block_sums, means
from klas.storage.arrays import chunks

Floats = NDArray[np.float64]

MetricName = Literal["top1", "miou", "token_accuracy"]

ROWS = 500  # of stored outputs that are read at a time


@dataclass(frozen=True, kw_only=True)
class AccuracyMetric(ABC):
    """A share, such as top-1; higher is better.

    Attributes:
        name: in files: ``top1``.
        label: within a sentence: "top-1".
    """

    name: MetricName
    label: str

    @property
    def heading(self) -> str:
        """At the head of a sentence: "Top-1"."""
        return self.label[:1].upper() + self.label[1:]

    @property
    def axis(self) -> str:
        """On an axis or above a column of percent: "top-1 (%)"."""
        return f"{self.label} (%)"

    @abstractmethod
    def value(self, outcomes: ArrayLike) -> float:
        """The metric in [0, 1] of the outcomes (N, …) of all samples."""

    @abstractmethod
    def block_sums(self, outcomes: ArrayLike, blocks: NDArray[np.int64]) -> Floats:
        """What adds up over the samples of each of B blocks: (B, …) of outcomes (N, …).

        Args:
            blocks: (N,) of :func:`klas.selection.bootstrap.block_of`.
        """

    @abstractmethod
    def replicates(self, sums: Floats, sizes: ArrayLike, drawn: NDArray[np.int64]) -> Floats:
        """(R, M) the metric in [0, 1] of every replicate.

        Args:
            sums: (M, B, …) of :meth:`block_sums`.
            sizes: (B,) samples in each block.
            drawn: (R, B) how often each block is drawn.
        """

    @abstractmethod
    def of_anchor(self, validation: Mapping[str, Any]) -> NDArray[Any]:
        """(N, …) the outcomes of an anchor, from what its pass over the samples stored."""

    @abstractmethod
    def packed(self, outcomes: NDArray[Any]) -> NDArray[Any]:
        """Outcomes (N, …) as they are stored."""

    @abstractmethod
    def packed_sums(self, packed: NDArray[Any], samples: int) -> Floats:
        """:meth:`block_sums` of stored outcomes of N samples in their blocks."""

    @abstractmethod
    def packed_value(self, packed: NDArray[Any], samples: int) -> float:
        """:meth:`value` of stored outcomes of N samples."""


class Top1(AccuracyMetric):
    """The share of samples whose highest logit is that of their class; an outcome is a bit."""

    def value(self, outcomes: ArrayLike) -> float:
        """The mean of bits (N,)."""
        return float(np.asarray(outcomes).mean())

    def block_sums(self, outcomes: ArrayLike, blocks: NDArray[np.int64]) -> Floats:
        """(…, B) how many of the bits (…, N) are set."""
        return block_sums(outcomes, blocks)

    def replicates(self, sums: Floats, sizes: ArrayLike, drawn: NDArray[np.int64]) -> Floats:
        """(R, …) means over the drawn samples."""
        return means(sums, sizes, drawn)

    def of_anchor(self, validation: Mapping[str, Any]) -> NDArray[np.bool_]:
        """(N,) whether the highest of ``logits`` (N, K) is that of ``labels`` (N,).

        Few rows are read at a time: they may lie in a mapped file.
        """
        guesses = [few.argmax(1) for few in chunks(validation["logits"], ROWS)]
        right: NDArray[np.bool_] = np.concatenate(guesses) == validation["labels"]
        return right

    def packed(self, outcomes: NDArray[Any]) -> NDArray[np.uint8]:
        """Eight samples a byte."""
        return np.packbits(outcomes)

    def packed_sums(self, packed: NDArray[Any], samples: int) -> Floats:
        """(B,) counts."""
        return block_sums(np.unpackbits(packed, count=samples), block_of(samples))

    def packed_value(self, packed: NDArray[Any], samples: int) -> float:
        """The mean of the bits."""
        return self.value(np.unpackbits(packed, count=samples))


class SummedMetric(AccuracyMetric):
    """A figure of parts that are added up over samples: an outcome has them all, and so has a sum.

    Attributes:
        kept: the type in which sums are stored.
    """

    kept: ClassVar[type[np.number[Any]]]

    @abstractmethod
    def of_totals(self, totals: Floats) -> Floats:
        """(…) the metric of parts (…, *parts) that were added up over all samples."""

    def value(self, outcomes: ArrayLike) -> float:
        """Of (N, *parts), or of their sums over blocks."""
        return float(self.of_totals(np.asarray(outcomes, dtype=np.float64).sum(0)))

    def block_sums(self, outcomes: ArrayLike, blocks: NDArray[np.int64]) -> Floats:
        """(B, *parts)."""
        return np.moveaxis(block_sums(np.moveaxis(np.asarray(outcomes), 0, -1), blocks), -1, 0)

    def replicates(self, sums: Floats, sizes: ArrayLike, drawn: NDArray[np.int64]) -> Floats:
        """(R, M) of the parts of the drawn blocks."""
        return self.of_totals(drawn_totals(sums, drawn))

    def of_anchor(self, validation: Mapping[str, Any]) -> NDArray[Any]:
        """(N, *parts) as they were counted."""
        counted: NDArray[Any] = validation["outcomes"]
        return counted

    def packed(self, outcomes: NDArray[Any]) -> NDArray[Any]:
        """(B, *parts) the sums over the samples of each block."""
        return self.block_sums(outcomes, block_of(len(outcomes))).astype(self.kept)

    def packed_sums(self, packed: NDArray[Any], samples: int) -> Floats:
        """(B, *parts) the same."""
        return np.asarray(packed, dtype=np.float64)

    def packed_value(self, packed: NDArray[Any], samples: int) -> float:
        """Of all blocks."""
        return self.value(packed)


def drawn_totals(sums: Floats, drawn: NDArray[np.int64]) -> Floats:
    """(R, M, *parts) of every replicate, of the sums (M, B, *parts) of blocks that are drawn."""
    # Of floats and without an axis that is not summed, or the product would be slow.
    return np.tensordot(drawn.astype(np.float64), sums, axes=(1, 1))


UNION_PARTS = ("right", "predicted", "there")
"""What is counted of each class, in pixels: its intersection, and the two sides of its union."""


class MeanIoU(SummedMetric):
    """The mean over classes of intersection over union, of all pixels of the data set.

    An outcome is (3, K), how many pixels of each class are right, predicted and there
    (:data:`UNION_PARTS`); void pixels count in none. A class that is neither predicted nor there
    is left out of the mean.
    """

    kept = np.int64

    @property
    def heading(self) -> str:
        """As within a sentence."""
        return self.label

    def of_totals(self, totals: Floats) -> Floats:
        """The mean over classes of (…, 3, K)."""
        return _mean(_iou(totals))


def class_iou(outcomes: ArrayLike) -> Floats:
    """(K,) intersection over union of each class, of outcomes (N, 3, K) or their sums.

    NaN for a class that is neither predicted nor there.

    Examples:
        One image of six pixels: of the first class 2 are right, 3 are predicted and 2 are there.

        >>> class_iou([[[2, 3, 0], [3, 3, 0], [2, 4, 0]]])
        array([0.66666667, 0.75      ,        nan])
    """
    return _iou(np.asarray(outcomes, dtype=np.float64).sum(0))


def _iou(total: Floats) -> Floats:
    """(…, K) of sums (…, 3, K)."""
    right, predicted, there = np.moveaxis(total, -2, 0)
    union = predicted + there - right
    iou = np.full(union.shape, np.nan)
    np.divide(right, union, out=iou, where=union > 0)
    return iou


def _mean(iou: Floats) -> Floats:
    """(…) over the classes that are anywhere; 0 where none is."""
    known = ~np.isnan(iou)
    total: Floats = np.where(known, iou, 0).sum(-1) / np.maximum(known.sum(-1), 1)
    return total


TOKEN_PARTS = ("right", "nats", "positions")
"""What is counted of a text: how many tokens were foretold, the sum of −log p of all, and of how
many."""


class TokenAccuracy(SummedMetric):
    """The share of tokens that are a decoder's likeliest; an outcome is :data:`TOKEN_PARTS`."""

    kept = np.float64

    def of_totals(self, totals: Floats) -> Floats:
        """(…) of (…, 3)."""
        share: Floats = totals[..., 0] / totals[..., 2]
        return share


def perplexity(totals: ArrayLike) -> Floats:
    """(…) e to the mean of −log p over all tokens, of :data:`TOKEN_PARTS` (…, 3) added up.

    Lower is better: among how many words a decoder is undecided, about.

    Examples:
        Two tokens, each foretold with probability 1/8:

        >>> float(perplexity([0, 2 * np.log(8), 2]).round(6))
        8.0
    """
    _, nats, positions = np.moveaxis(np.asarray(totals, dtype=np.float64), -1, 0)
    value: Floats = np.exp(nats / positions)
    return value


TOP1 = Top1(name="top1", label="top-1")
MIOU = MeanIoU(name="miou", label="mIoU")
TOKEN_ACCURACY = TokenAccuracy(name="token_accuracy", label="token accuracy")
