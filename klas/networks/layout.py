"""The form of an activation: tokens, a map or a sequence, and how to read it."""

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Form = Literal["NLC", "NHWC", "NCHW"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The form of the activation at a cut.

    Attributes:
        channels: C.
        grid: (height, width), the positions of a map. Empty for a sequence (a text), which is
            ``NLC`` without prefix tokens, (N, L, C), where L is the input's.
        prefix: how many tokens come before those of the map; only ``NLC`` has any.
        form: ``NLC`` for tokens (N, prefix + height · width, C), ``NHWC`` or ``NCHW`` for a map.
    """

    channels: int
    grid: tuple[int, ...]
    prefix: int
    form: Form = "NLC"

    def to_json(self) -> dict[str, Any]:
        """Plain values for files."""
        return {**asdict(self), "grid": list(self.grid)}

    @property
    def positions(self) -> int:
        """How many positions an image has here, prefix tokens included.

        1 for a sequence: what is counted for an image is counted for each of its positions.

        Examples:
            >>> Layout(channels=192, grid=(14, 14), prefix=1).positions
            197
        """
        return self.prefix + prod(self.grid)


def pooled(activation: Tensor, layout: Layout, pool: str) -> Tensor:
    """The mean of an activation over its positions, (N, C), float32.

    Args:
        activation: of the form that ``layout`` states.
        layout: its form.
        pool: ``"mean"``, over all positions, prefix tokens included; or ``"prefix"``, over the
            prefix tokens alone.

    Examples:
        >>> tokens = torch.tensor([[[6.0], [1.0], [2.0]]])  # a class token and a 1×2 map
        >>> layout = Layout(channels=1, grid=(1, 2), prefix=1)
        >>> pooled(tokens, layout, "mean"), pooled(tokens, layout, "prefix")
        (tensor([[3.]]), tensor([[6.]]))
    """
    if pool == "prefix":
        return activation[:, : layout.prefix].float().mean(1)
    positions = {"NLC": (1,), "NHWC": (1, 2), "NCHW": (2, 3)}[layout.form]
    return activation.float().mean(positions)


def maps_and_prefix(activation: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """An activation as its map (N, H, W, C) and its prefix tokens (N, P, C).

    A sequence is a map of one row, (N, 1, L, C).
    """
    match layout.form:
        case "NLC":
            maps = activation[:, layout.prefix :].unflatten(1, layout.grid or (1, -1))
            return maps, activation[:, : layout.prefix]
        case "NHWC":
            maps = activation
        case "NCHW":
            maps = activation.permute(0, 2, 3, 1)
    return maps, maps.new_empty(maps.shape[0], 0, layout.channels)


def resized(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    """(N, H, W, C) at another grid: bilinear, corners not aligned, no antialiasing.

    The empty grid of a sequence leaves the size as it is.
    """
    if not grid or maps.shape[1:3] == torch.Size(grid):
        return maps
    moved = interpolate(maps.permute(0, 3, 1, 2), size=grid, mode="bilinear", align_corners=False)
    return moved.permute(0, 2, 3, 1)
