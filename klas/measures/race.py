"""A race's state while its stitches are trained: who is left, what was measured at the rungs."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from klas.networks.family import Family
from klas.selection.race import rung_steps, survivors
from klas.selection.space import Place

Measure = Callable[[Family, int], Mapping[Place, float]]
"""The accuracy of every stitch of a family on some validation samples, after so many steps."""


class Race(nn.Module):
    """Which stitches of a joint training are left (:mod:`klas.selection.race`).

    A module, so that a training's checkpoint keeps its buffers beside the weights.

    Attributes:
        accuracy: (R, N) measured at each rung; NaN for what was out by then, or is still to come.
        alive: (R + 1, N) who is left before the first rung, and after each.
    """

    accuracy: Tensor
    alive: Tensor

    def __init__(
        self,
        places: Sequence[Place],
        *,
        buckets: Sequence[int],
        macs: Sequence[int],
        steps: int,
        measure: Measure,
    ) -> None:
        """Line up.

        Args:
            places: N stitches, in the order of the family's.
            buckets, macs: of each.
            steps: of the whole training.
            measure: is given a family of the stitches that are left.
        """
        super().__init__()
        self._places, self._buckets, self._macs = list(places), list(buckets), list(macs)
        self._rungs, self._measure = rung_steps(steps), measure
        count, rungs = len(self._places), len(self._rungs)
        self.register_buffer("accuracy", torch.full((rungs, count), torch.nan, dtype=torch.float64))
        self.register_buffer("alive", torch.ones((rungs + 1, count), dtype=torch.bool))

    def places(self, step: int) -> list[Place]:
        """Who is trained at a step, in order."""
        left = self.alive[sum(at <= step for at, _ in self._rungs)].tolist()
        return [place for place, runs in zip(self._places, left) if runs]

    def hold(self, step: int, family: Family) -> None:
        """Hold the rungs of this moment, if there are any, and drop the worst of every bucket.

        Args:
            step: how many steps are done.
            family: as it is trained; nothing in it is changed.
        """
        for rung, (at, kept) in enumerate(self._rungs):
            if at != step:
                continue
            left = self.alive[rung].tolist()
            places = [place for place, runs in zip(self._places, left) if runs]
            measured = self._measure(family.copy_of(places), step)
            accuracy = [measured.get(place, np.nan) for place in self._places]
            on = survivors(accuracy, self._macs, self._buckets, left, kept)
            self.accuracy[rung] = torch.tensor(accuracy, dtype=torch.float64)
            self.alive[rung + 1] = torch.from_numpy(on)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """As it is stored beside what was trained; the order is that of the stitches."""
        return {
            "race/accuracy": self.accuracy.numpy().copy(),
            "race/alive": self.alive.numpy().copy(),
        }
