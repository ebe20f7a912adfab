"""Normalisation in training and measuring: images for statistics, and the least batch."""

from collections.abc import Iterator

from torch import Tensor

from klas.errors import KlasError
from klas.measures.normalisation import CALIBRATION, has_statistics, in_whole_batches
from klas.networks.anchor import Anchor
from klas.pipeline.context import Context


def calibration_batches(context: Context, viewer: str) -> Iterator[tuple[Tensor, ...]]:
    """Batches of (images as an anchor sees them, targets), the same for every member."""
    rows, batch = in_whole_batches(context.splits.readable_training_rows(CALIBRATION))
    return context.batches(context.train.images, rows, viewer, batch=batch)


def check_batch(section: str, batch: int, *trained: Anchor) -> None:
    """Refuse batches of one image where networks normalise over the batch.

    Args:
        section: of the study, where the batch is set.
        trained: the anchors that run in training mode.

    Raises:
        KlasError: there is one image, and one of the anchors normalises over it.
    """
    for anchor in trained:
        if batch < 2 and has_statistics(anchor):
            raise KlasError(
                f"[{section}] batch = {batch}: {anchor.info.name} normalises over the images of a "
                "batch, so give it two or more"
            )
