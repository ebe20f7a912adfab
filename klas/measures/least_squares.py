"""Stitch layers by least squares, for every pair of cuts from one pass over a few images."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from klas.measures.divergence import widened
from klas.networks.anchor import Anchor
from klas.networks.device import Precision, autocast
from klas.networks.layout import Layout, maps_and_prefix, resized
from klas.networks.stitch import State, own_prefix

EIGENVALUE_CUTOFF = 1e-10
"""Of the largest eigenvalue. Directions in which the source varies less than 1e-5 times as much
as in its main one are rounding, not signal."""


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Which rows a regression sees, so that those of the two cuts correspond.

    Attributes:
        grid: the positions, with the source resized to the target's; None if the rows are the
            means over the source's grid instead.
        prefix: how many prefix tokens are rows too.
    """

    grid: tuple[int, ...] | None
    prefix: int = 0


class CrossMoments:
    """Sums for regressing the target's activations on the source's, cut by cut.

    It keeps counts, sums, each source cut's second moments and the cross moments of the wanted
    stitches, so memory does not depend on the number of images.
    """

    def __init__(
        self,
        source: Sequence[Layout],
        target: Sequence[Layout],
        stitches: Sequence[tuple[int, int]],
    ) -> None:
        self._source = source
        self._target = target
        # Which (i, j) are regressed on which kind of rows.
        self._wanted: dict[_Rows, list[tuple[int, int]]] = defaultdict(list)
        for i, j in stitches:
            have, want = source[i], target[j]
            own = own_prefix(have, want)
            joined = want.prefix if have.prefix == want.prefix else 0
            self._wanted[_Rows(grid=want.grid, prefix=joined)].append((i, j))
            if own:
                self._wanted[_Rows(grid=None)].append((i, j))
        self._sums: dict[tuple[object, ...], Tensor] = {}

    def update(self, source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
        """Add a batch: the activations at all of the source's and all of the target's cuts."""
        for rows, stitches in self._wanted.items():
            ys: dict[int, Tensor] = {}
            for i in sorted({i for i, _ in stitches}):
                x = _source_rows(source[i], self._source[i], rows)
                self._add((rows, i, "count"), torch.tensor(float(len(x))))
                self._add((rows, i, "x"), x.sum(0))
                self._add((rows, i, "xx"), x.T @ x)
                for j in (j for first, j in stitches if first == i):
                    if j not in ys:
                        ys[j] = _target_rows(target[j], self._target[j], rows)
                    self._add((rows, i, j, "y"), ys[j].sum(0))
                    self._add((rows, i, j, "xy"), x.T @ ys[j])

    def solve(self) -> dict[tuple[int, int], State]:
        """T for each stitch (i, j), float32.

        Minimises Σ ‖W a_i + b − a_j‖² over all rows; where the source's activations do not
        span their space, the solution of least norm on the centred rows.
        """
        states: dict[tuple[int, int], State] = defaultdict(dict)
        for rows, stitches in self._wanted.items():
            for i in sorted({i for i, _ in stitches}):
                n = float(self._sums[rows, i, "count"])
                mean_x = self._sums[rows, i, "x"] / n
                centred = self._sums[rows, i, "xx"] / n - torch.outer(mean_x, mean_x)
                values, vectors = torch.linalg.eigh(centred)
                kept = values > EIGENVALUE_CUTOFF * values[-1]
                inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
                for j in sorted(j for first, j in stitches if first == i):
                    mean_y = self._sums[rows, i, j, "y"] / n
                    cross = self._sums[rows, i, j, "xy"] / n - torch.outer(mean_x, mean_y)
                    weight = (vectors * inverse) @ (vectors.T @ cross)  # (C_i, C_j)
                    bias = mean_y - mean_x @ weight
                    states[i, j] |= _state(rows, weight, bias, self._target[j])
        return dict(states)

    def _add(self, key: tuple[object, ...], value: Tensor) -> None:
        if key in self._sums:
            self._sums[key] += value
        else:
            self._sums[key] = value


def _state(rows: _Rows, weight: Tensor, bias: Tensor, target: Layout) -> State:
    """A solution, (C_in, columns) and (columns,), as parameters of T."""
    weight = weight.T.float()
    if rows.grid is not None:
        return {"weight": weight.contiguous(), "bias": bias.float()}
    shape = (target.prefix, target.channels)
    return {
        "prefix_weight": weight.unflatten(0, shape).contiguous(),
        "prefix_bias": bias.float().unflatten(0, shape).contiguous(),
    }


def _source_rows(activation: Tensor, layout: Layout, rows: _Rows) -> Tensor:
    maps, prefix = maps_and_prefix(activation, layout)
    if rows.grid is None:
        return widened(maps.float().mean((1, 2)))
    maps = resized(maps.float(), rows.grid).flatten(1, 2)
    return widened(torch.cat([prefix.float(), maps], 1) if rows.prefix else maps).flatten(0, 1)


def _target_rows(activation: Tensor, layout: Layout, rows: _Rows) -> Tensor:
    maps, prefix = maps_and_prefix(activation, layout)
    if rows.grid is None:
        return widened(prefix.flatten(1))  # every token's channels are columns of their own
    maps = maps.flatten(1, 2)
    return widened(torch.cat([prefix, maps], 1) if rows.prefix else maps).flatten(0, 1)


@torch.inference_mode()
def fit_stitch_layers(
    source: Anchor,
    target: Anchor,
    batches: Iterable[tuple[Tensor, ...]],
    stitches: Sequence[tuple[int, int]],
    *,
    precision: Precision = "float32",
) -> dict[tuple[int, int], State]:
    """T for each stitch (i, j), by least squares, from one pass over both anchors.

    Args:
        source, target: the pair's anchors, in eval mode.
        batches: (source's view (n, C, H, W), target's view, labels (n,)) of the fit set.
        stitches: which (i, j).
        precision: of the forward passes; the regression itself is float64.
    """
    moments = CrossMoments(source.info.layouts, target.info.layouts, stitches)
    for source_view, target_view, _ in batches:
        with autocast(source_view.device, precision):
            activations = source.cut_activations(source_view), target.cut_activations(target_view)
        moments.update(*activations)
    return moments.solve()
