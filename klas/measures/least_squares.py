"""Stitch layers by least squares, for every pair of cuts from one pass over a few images."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from klas.measures.divergence import sum_dtype
from klas.networks.anchor import Anchor

EIGENVALUE_CUTOFF = 1e-10
"""Directions in which the source varies less than 1e-5 of its most are rounding, not signal."""


class CrossMoments:
    """Sums for regressing the target's activations at every cut on the source's at every cut.

    Rows are tokens. Kept: counts, sums, each source cut's second moments and all cross
    moments, so memory does not depend on the number of images.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sum_x: list[Tensor] = []
        self._sum_y: list[Tensor] = []
        self._xx: list[Tensor] = []
        self._xy: list[list[Tensor]] = []

    def update(self, source: list[Tensor], target: list[Tensor]) -> None:
        """Add a batch: activations (N, L, C) at the source's and at the target's cuts."""
        # Second moments square the condition number, so they need float64; a device without
        # it hands its few rows to the CPU.
        has_float64 = sum_dtype(source[0].device) == torch.float64
        place = source[0].device if has_float64 else torch.device("cpu")
        x = [a.flatten(0, -2).to(place, torch.float64) for a in source]
        y = [a.flatten(0, -2).to(place, torch.float64) for a in target]
        sums = (
            [a.sum(0) for a in x],
            [b.sum(0) for b in y],
            [a.T @ a for a in x],
            [[a.T @ b for b in y] for a in x],
        )
        if self._count == 0:
            self._sum_x, self._sum_y, self._xx, self._xy = sums
        else:
            self._sum_x = [s + t for s, t in zip(self._sum_x, sums[0])]
            self._sum_y = [s + t for s, t in zip(self._sum_y, sums[1])]
            self._xx = [s + t for s, t in zip(self._xx, sums[2])]
            self._xy = [[s + t for s, t in zip(r, u)] for r, u in zip(self._xy, sums[3])]
        self._count += len(x[0])

    def solve(
        self, stitches: list[tuple[int, int]]
    ) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
        """T for each (i, j): weight (C_j, C_i) and bias (C_j,), float32.

        Minimises Σ ‖W a_i + b − a_j‖² over all rows; where the source's activations do not
        span their space, the solution of least norm on the centred rows.
        """
        n = self._count
        found = {}
        for i in sorted({i for i, _ in stitches}):
            mean_x = self._sum_x[i] / n
            centred = self._xx[i] / n - torch.outer(mean_x, mean_x)
            values, vectors = torch.linalg.eigh(centred)
            kept = values > EIGENVALUE_CUTOFF * values[-1]
            inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
            for j in sorted(j for first, j in stitches if first == i):
                mean_y = self._sum_y[j] / n
                cross = self._xy[i][j] / n - torch.outer(mean_x, mean_y)  # (C_i, C_j)
                weight = (vectors * inverse) @ (vectors.T @ cross)
                bias = mean_y - mean_x @ weight
                found[i, j] = (weight.T.float().contiguous(), bias.float())
        return found


@torch.inference_mode()
def fit_stitch_layers(
    source: Anchor,
    target: Anchor,
    batches: Iterable[tuple[Tensor, ...]],
    stitches: Sequence[tuple[int, int]],
) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    """T for each (i, j) from one pass over (source's view, target's view, labels)."""
    moments = CrossMoments()
    for source_view, target_view, _ in batches:
        moments.update(source.cut_activations(source_view), target.cut_activations(target_view))
    return moments.solve(list(stitches))
