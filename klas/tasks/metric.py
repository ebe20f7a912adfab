"""How well a network does at a task: one number, made of sums over samples. No torch here.

What is kept of a network is an *outcome* for every sample. Its sums over fixed blocks of samples
are all that a figure and its interval need.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from klas.selection.bootstrap import block_sums, means
from klas.storage.arrays import chunks

Floats = NDArray[np.float64]

MetricName = Literal["top1"]

ROWS = 500  # of stored outputs that are read at a time


@dataclass(frozen=True, kw_only=True)
class AccuracyMetric:
    """A share of the samples, such as top-1; higher is better.

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

    def block_sums(self, outcomes: ArrayLike, blocks: NDArray[np.int64]) -> Floats:
        """(…, B) what adds up over the samples of each block, of outcomes (…, N).

        Args:
            blocks: (N,) of :func:`klas.selection.bootstrap.block_of`.
        """
        return block_sums(outcomes, blocks)

    def replicates(self, sums: Floats, sizes: ArrayLike, drawn: NDArray[np.int64]) -> Floats:
        """(R, …) the metric in [0, 1] of every replicate.

        Args:
            sums: (…, B) of :meth:`block_sums`.
            sizes: (B,) samples in each block.
            drawn: (R, B) how often each block is drawn.
        """
        return means(sums, sizes, drawn)

    def of_outputs(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """The metric of stored outputs (N, K) under targets (N,), read a few rows at a time."""
        return self.value(self.outcomes(outputs, targets))

    def outcomes(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.bool_]:
        """(N,) the outcomes of stored outputs (N, K) under targets (N,), read in the same way."""
        guesses = [few.argmax(1) for few in chunks(outputs, ROWS)]
        right: NDArray[np.bool_] = np.concatenate(guesses) == targets
        return right

    def value(self, outcomes: ArrayLike) -> float:
        """The metric in [0, 1] of the outcomes (N,) of all samples."""
        return float(np.asarray(outcomes).mean())


TOP1 = AccuracyMetric(name="top1", label="top-1")
"""The share of samples whose highest logit is that of their class."""
