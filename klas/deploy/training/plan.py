"""Who is trained on what at every step: a function of the seed and the step alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from klas.errors import StudyError
from klas.measures.schedule import batch_rows, drawn_member
from klas.recipe import TrainingSpec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of a training.

    Attributes:
        recipe: how to train.
        viewers: of every member, in order, the anchor as which it sees images.
        rows: (N,) the images that are trained on.
        teacher: the anchor that teaches, if one does.
        parts: in how many parts a batch is taken by all processes together.
    """

    recipe: TrainingSpec
    viewers: Mapping[str, str]
    rows: NDArray[np.int64]
    teacher: str | None
    parts: int

    def member(self, step: int) -> str:
        """Who is trained at a step; the same in every process."""
        names = list(self.viewers)
        return names[drawn_member(self.recipe.seed, step, len(names))]

    def viewers_at(self, step: int) -> Sequence[str]:
        """As which anchors a step's images are needed."""
        seen = [self.viewers[self.member(step)], self.teacher]
        return [name for name in dict.fromkeys(seen) if name is not None]

    def rows_of(self, step: int, part: int) -> NDArray[np.int64]:
        """The images of a part of a step's batch, in order."""
        recipe = self.recipe
        picked = batch_rows(
            step, step + 1, rows=len(self.rows), batch=recipe.batch, seed=recipe.seed
        )
        return self.rows[picked[positions(recipe.batch, part, self.parts)]]


def positions(batch: int, part: int, parts: int) -> NDArray[np.int64]:
    """Which images of a batch make up a part: with each the one at the same distance from the end.

    So mixup, which pairs these, needs no images of other processes.

    Examples:
        >>> positions(8, 0, 2), positions(8, 1, 2)
        (array([0, 1, 6, 7]), array([2, 3, 4, 5]))
    """
    pairs = np.minimum(np.arange(batch), np.arange(batch)[::-1])
    return np.sort(np.argsort(pairs, kind="stable").reshape(parts, -1)[part])


def check_parts(recipe: TrainingSpec, processes: int, *, normalises: str | None) -> int:
    """In how many equal parts a batch is taken.

    Args:
        processes: that share it.
        normalises: an anchor that normalises over a batch, if there is one.

    Raises:
        StudyError: it can't be taken so.
    """
    parts = processes * recipe.accumulate
    unit = 2 * parts if recipe.mixes else parts
    if recipe.batch % unit:
        which = "pairs of images, which are mixed" if recipe.mixes else "the same size"
        why, instead = f"of {which}", f"a multiple of {unit}"
    elif normalises and recipe.batch < 2 * parts:
        why = f"of one image, and {normalises} normalises over the images of a part"
        instead = f"{2 * parts} or more"
    else:
        return parts
    raise StudyError(
        f"[training] batch = {recipe.batch}: is taken in {parts} parts (processes × accumulate) "
        f"{why}; give {instead}"
    )
