"""The images of every step, augmented, in processes of their own where that pays."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from klas.data import Images
from klas.data.loading import MOST_THREADS
from klas.deploy.training.augmentation import Augmentation
from klas.deploy.training.plan import Plan
from klas.errors import DataError, KlasError

Part = tuple[dict[str, Tensor], Tensor]
"""A part of a batch: bytes (n, C, H, W) by the anchor that sees them so, and labels (n,)."""


@dataclass(frozen=True, kw_only=True)
class StepImages(Dataset[list[Part] | DataError]):
    """The parts of a step's batch that one process takes; what can't be read is an error.

    Attributes:
        images: the data set.
        plan: which of its images.
        augmentation: what becomes of them.
        parts: the numbers of the parts.
    """

    images: Images
    plan: Plan
    augmentation: Augmentation
    parts: Sequence[int]

    def __getitem__(self, step: int) -> list[Part] | DataError:
        """All parts; an error is handed over, for across processes it would be half a page."""
        try:
            return [self._part(step, part) for part in self.parts]
        except KlasError as error:
            return DataError(str(error))

    def _part(self, step: int, part: int) -> Part:
        rows, viewers = self.plan.rows_of(step, part), self.plan.viewers_at(step)
        seen = [self._augmented(step, int(row), viewers) for row in rows]
        views = {name: torch.stack([each[name] for each in seen]) for name in viewers}
        return views, torch.from_numpy(self.images.labels[rows])

    def _augmented(self, step: int, row: int, viewers: Sequence[str]) -> dict[str, Tensor]:
        picture = self.images.image(row)
        try:
            return self.augmentation(picture, step, row, viewers)
        except Exception as error:  # whatever Pillow or timm raises
            raise DataError(
                f"{self.images.where(row)}: cannot be augmented ({error}); leave it out, or "
                "change [training] aa"
            ) from None

    def batches(self, first: int, last: int, *, workers: int, pin: bool) -> Iterator[list[Part]]:
        """The parts of steps ``first`` … ``last`` − 1.

        Args:
            workers: processes that prepare them; with 0 this one does.
            pin: whether they are to lie in pinned memory.

        Raises:
            DataError: an image can't be read or augmented.
        """
        loader = DataLoader(
            self,
            sampler=range(first, last),
            batch_size=None,
            num_workers=workers,
            pin_memory=pin,
            # Forked, a worker starts at once and needs no copy of the data set. It computes
            # with one thread and never on CUDA, which a fork can't.
            multiprocessing_context="fork" if workers else None,
        )
        for step in loader:
            if isinstance(step, DataError):
                raise step
            yield step


def loader_processes(images: Images) -> int:
    """How many processes augment images; 0 where this one does it as well.

    Processes, although elsewhere threads load: timm's augmentation draws from states that a
    process has once, so in threads one image would have to wait for another. A core augments about
    400 images of 224 × 224 pixels in a second, a GPU trains several times as many.
    """
    if not images.stored or sys.platform != "linux":
        return 0
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(MOST_THREADS, cores) if cores > 1 else 0
