"""Direct matching: how much of a target's activations a stitch layer misses.

After DeRy (Yang et al. 2022), which takes two blocks to be exchangeable if a linear map of the
activations of one gives those of the other. The KLAS paper compares with it as "DM" without a
formula. Our reading: T is the stitch's own least-squares layer, and the residual is taken on
validation images, relative to how much the target's activations vary:
DM = Σ ‖T(a_i) − a_j‖² / Σ ‖a_j − m_j‖².
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.errors import AnchorError
from klas.measures.divergence import sum_dtype
from klas.measures.sweep import Tick
from klas.networks.device import Precision, autocast
from klas.networks.family import Family
from klas.networks.layout import Layout, maps_and_prefix


class MatchingSums(NamedTuple):
    """The two sums of which DM is the ratio, float64, for each of B blocks of samples.

    Attributes:
        residuals: (B, S) Σ ‖T(a_i) − a_j‖² over the block's samples, all positions and channels,
            for the S stitch layers in their order.
        spread: (B, S) Σ ‖a_j − m_j‖² over the same at the stitch's target cut; m_j (C_j,) is the
            mean over all samples of all blocks and all positions.
    """

    residuals: NDArray[np.float64]
    spread: NDArray[np.float64]


class _Spread:
    """The variation of the activations at one cut, block by block.

    It keeps sums of a − r with a fixed r near the mean, so nothing cancels at the end.
    """

    def __init__(self, first: Tensor, layout: Layout, blocks: int) -> None:
        self._layout = layout
        rows = torch.cat(self._parts(first), 1).flatten(0, 1)  # (n · positions, C)
        # The mean, computed so that constant activations leave exactly nothing.
        self._reference = rows[0] + (rows - rows[0]).mean(0)
        self._squares = _zeros(first.device, blocks)
        self._sums = _zeros(first.device, blocks, layout.channels)
        self._positions = sum(part.shape[1] for part in self._parts(first))  # of a sample

    def _parts(self, activation: Tensor) -> list[Tensor]:
        """Prefix and map as (n, positions, C), without a copy."""
        return [part.flatten(1, -2) for part in maps_and_prefix(activation, self._layout)]

    def update(self, activation: Tensor, blocks: Tensor) -> None:
        """Add a batch; ``blocks`` (n,) says where each sample belongs."""
        for part in self._parts(activation):
            shifted = part - self._reference
            self._sums.index_add_(0, blocks, shifted.sum(1).to(self._sums.dtype))
            self._squares.index_add_(0, blocks, _squared(shifted).to(self._squares.dtype))

    def about_the_mean(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B,) Σ ‖a − m‖² of blocks with so many ``samples`` (B,)."""
        squares, sums = self._squares.cpu().double().numpy(), self._sums.cpu().double().numpy()
        positions = samples * self._positions
        shift = sums.sum(0) / positions.sum()  # m − r
        spread: NDArray[np.float64] = squares - 2 * sums @ shift + positions * (shift @ shift)
        return spread.clip(min=0)


@torch.inference_mode()
def matching_sums(
    family: Family,
    batches: Iterable[tuple[Tensor, ...]],
    block_of: NDArray[np.int64],
    tick: Tick,
    *,
    precision: Precision = "float32",
) -> MatchingSums:
    """Residuals and spreads of all stitches from one pass over both anchors.

    The anchors run in ``precision``, T and what follows in float32 or wider, so that no residual
    is mere rounding. Memory does not grow with the number of samples.

    Args:
        family: the stitches, with the anchors in eval mode.
        batches: (source's view (n, C, H, W), target's view, labels (n,)).
        block_of: (N,) the block, 0 … B − 1, of every sample in the pass's order.
        tick: called with the number of samples of every batch.
        precision: of the anchors' forward passes.

    Raises:
        AnchorError: a sum is not finite.
    """
    source, target, stitches = family.source, family.target, family.places
    device = next(source.parameters()).device
    count = int(block_of.max()) + 1
    block_at = torch.from_numpy(block_of).to(device)
    starts_at = {i for i, _ in stitches}
    ends_at = {j: [stitch for stitch in stitches if stitch[1] == j] for _, j in stitches}
    residuals = _zeros(device, count, len(stitches))
    spreads: dict[int, _Spread] = {}
    seen = 0
    for source_view, target_view, labels in batches:
        blocks = block_at[seen : seen + len(labels)]
        residual: dict[tuple[int, int], Tensor] = {}  # (n,) of every stitch
        with autocast(device, precision):
            walk = enumerate(source.walk(source_view, max(starts_at)))
            starts = {i: activation.float() for i, activation in walk if i in starts_at}
            for j, activation in enumerate(target.walk(target_view, max(ends_at))):
                if j not in ends_at:
                    continue
                with torch.autocast(device.type, enabled=False):
                    end = activation.float()
                    if j not in spreads:
                        spreads[j] = _Spread(end, target.info.layouts[j], count)
                    spreads[j].update(end, blocks)
                    for stitch in ends_at[j]:
                        output = family.layer(stitch)(starts[stitch[0]])
                        residual[stitch] = _squared(output.sub_(end))
        rows = torch.stack([residual[stitch] for stitch in stitches], 1)  # (n, S)
        residuals.index_add_(0, blocks, rows.to(residuals.dtype))
        seen += len(labels)
        tick(len(labels))
    samples = np.bincount(block_of, minlength=count).astype(np.float64)
    spread_at = {j: spread.about_the_mean(samples) for j, spread in spreads.items()}
    totals = MatchingSums(
        residuals.cpu().double().numpy(), np.stack([spread_at[j] for _, j in stitches], 1)
    )
    for s, (i, j) in enumerate(stitches):
        if not all(np.isfinite(sums[:, s]).all() for sums in totals):
            raise AnchorError(
                f"{source.info.name} → {target.info.name}: the activations at cuts {i} and {j} "
                "cannot be matched, their squares are not finite; the weights or the transform "
                "of one of the two must be wrong"
            )
    return totals


def _squared(rows: Tensor) -> Tensor:
    """(n,) sums of squares over all other axes of (n, …), float32, in one pass over memory."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=tuple(range(1, rows.ndim)))
    return norms.square()


def _zeros(device: torch.device, *shape: int) -> Tensor:
    """Zeros in the widest float, to sum into."""
    return torch.zeros(shape, dtype=sum_dtype(device), device=device)
