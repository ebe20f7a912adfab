"""Stitch layers by least squares, for every pair of cuts from one pass over a few images."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from klas.measures.divergence import sum_dtype
from klas.networks.anchor import Anchor
from klas.networks.device import Precision, autocast
from klas.networks.layout import Layout, maps_and_prefix, resized
from klas.networks.stitch import State, own_prefix

EIGENVALUE_CUTOFF = 1e-10
"""Of the largest eigenvalue. Directions in which the source varies less than 1e-5 times as much
as in its main one are rounding, not signal."""

TILE_BYTES = 2**27
"""Of the float64 rows that are multiplied at a time."""


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


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Source and target cuts, all of the first to be regressed on all of the second.

    Attributes:
        rows: which rows the regressions see.
        sources, targets: the cuts.
    """

    rows: _Rows
    sources: tuple[int, ...]
    targets: tuple[int, ...]


class CrossMoments:
    """Sums for regressing the target's activations on the source's, cut by cut.

    It keeps counts, sums, each source cut's second moments and the cross moments of the wanted
    stitches, so memory does not depend on the number of images.

    The cross moments of all pairs of cuts are one matrix product, in float64, because second
    moments square the condition number. In it goes nearly all of the time: what bounds it is how
    fast the device multiplies.
    """

    def __init__(
        self,
        source: Sequence[Layout],
        target: Sequence[Layout],
        stitches: Sequence[tuple[int, int]],
    ) -> None:
        self._source = source
        self._target = target
        # Which targets each source is regressed on, for every kind of rows.
        wanted: dict[_Rows, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for i, j in stitches:
            have, want = source[i], target[j]
            joined = want.prefix if have.prefix == want.prefix else 0
            wanted[_Rows(grid=want.grid, prefix=joined)][i].add(j)
            if own_prefix(have, want):
                wanted[_Rows(grid=None)][i].add(j)
        self._sums: dict[_Block, _Sums] = {}
        for rows, targets_of in wanted.items():
            alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
            for i in sorted(targets_of):
                alike[tuple(sorted(targets_of[i]))].append(i)
            for targets, sources in alike.items():
                block = _Block(rows=rows, sources=tuple(sources), targets=targets)
                self._sums[block] = _Sums(
                    [source[i].channels for i in sources],
                    [_target_width(target[j], rows) for j in targets],
                )

    def update(self, source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
        """Add a batch: the activations at all of the source's and all of the target's cuts."""
        for block, sums in self._sums.items():
            images = len(source[block.sources[0]])
            sides = [(source[i], self._source[i], _source_rows) for i in block.sources] + [
                (target[j], self._target[j], _target_rows) for j in block.targets
            ]
            one, layout, rows_of = sides[0]
            at_once = sums.rows_at_once // len(rows_of(one[:1], layout, block.rows)) or 1
            for first in range(0, images, at_once):
                here = slice(first, first + at_once)
                sums.add([of(part[here], layout, block.rows) for part, layout, of in sides])

    def solve(self) -> dict[tuple[int, int], State]:
        """T for each stitch (i, j), float32.

        Minimises Σ ‖W a_i + b − a_j‖² over all rows; where the source's activations do not
        span their space, the solution of least norm on the centred rows.
        """
        states: dict[tuple[int, int], State] = defaultdict(dict)
        for block, sums in self._sums.items():
            for i, (weights, biases) in zip(block.sources, sums.solutions()):
                for j, weight, bias in zip(block.targets, weights, biases):
                    states[i, j] |= _state(block.rows, weight, bias, self._target[j])
        return dict(states)


class _Sums:
    """The sums of one block of cuts, float64.

    Args:
        have, want: how many columns every source and target cut has.
    """

    def __init__(self, have: Sequence[int], want: Sequence[int]) -> None:
        self._have = list(have)
        self._want = list(want)
        self.rows_at_once = max(1, TILE_BYTES // (8 * (sum(have) + sum(want))))
        self._tile = torch.empty(0, 0)
        self._count = 0
        self._total: Tensor
        self._xx: list[Tensor]
        self._xy: Tensor

    def add(self, parts: Sequence[Tensor]) -> None:
        """Add rows: the columns of every source cut, then of every target cut."""
        device, rows = parts[0].device, len(parts[0])
        if not self._count:
            where = device if sum_dtype(device) == torch.float64 else "cpu"
            self._total = torch.zeros(
                sum(self._have) + sum(self._want), dtype=torch.float64, device=where
            )
            self._xx = [self._total.new_zeros(width, width) for width in self._have]
            self._xy = self._total.new_zeros(sum(self._have), sum(self._want))
        if len(self._tile) < rows:  # its memory is used again for every tile
            self._tile = self._total.new_empty(rows, len(self._total))
        tile = self._tile[:rows]
        for column, part in zip(tile.split([*self._have, *self._want], 1), parts):
            column.copy_(part)  # into float64
        self._count += rows
        self._total += tile.sum(0)
        x, y = tile.split([sum(self._have), sum(self._want)], 1)
        self._xy.addmm_(x.T, y)
        for moment, own in zip(self._xx, x.split(self._have, 1)):
            moment.addmm_(own.T, own)

    def solutions(self) -> Iterator[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """For each source cut the weights (C_i, C_j) and biases (C_j,) of every target cut."""
        mean_x, mean_y = (self._total / self._count).split([sum(self._have), sum(self._want)])
        means = mean_x.split(self._have)
        for mean, moment, products in zip(means, self._xx, self._xy.split(self._have)):
            centred = moment / self._count - torch.outer(mean, mean)
            values, vectors = torch.linalg.eigh(centred)
            kept = values > EIGENVALUE_CUTOFF * values[-1]
            inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
            cross = products / self._count - torch.outer(mean, mean_y)
            weight = (vectors * inverse) @ (vectors.T @ cross)  # (C_i, Σ C_j)
            bias = mean_y - mean @ weight
            yield weight.split(self._want, 1), bias.split(self._want)


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
        return maps.float().mean((1, 2))
    maps = resized(maps.float(), rows.grid).flatten(1, 2)
    return (torch.cat([prefix.float(), maps], 1) if rows.prefix else maps).flatten(0, 1)


def _target_rows(activation: Tensor, layout: Layout, rows: _Rows) -> Tensor:
    maps, prefix = maps_and_prefix(activation, layout)
    if rows.grid is None:
        return prefix.flatten(1)  # every token's channels are columns of their own
    maps = maps.flatten(1, 2)
    return (torch.cat([prefix, maps], 1) if rows.prefix else maps).flatten(0, 1)


def _target_width(layout: Layout, rows: _Rows) -> int:
    return layout.channels * (layout.prefix if rows.grid is None else 1)


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
