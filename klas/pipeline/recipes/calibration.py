"""The training images that normalisation statistics are taken from again."""

from collections.abc import Iterator

from torch import Tensor

from klas.measures.normalisation import CALIBRATION, in_whole_batches
from klas.pipeline.context import Context


def calibration_batches(context: Context, viewer: str) -> Iterator[tuple[Tensor, ...]]:
    """Batches of (images as an anchor sees them, targets), the same for every member."""
    rows, batch = in_whole_batches(context.splits.readable_training_rows(CALIBRATION))
    return context.batches(context.train.images, rows, viewer, batch=batch)
