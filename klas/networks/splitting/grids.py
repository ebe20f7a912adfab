"""What an activation's shape means: which of its axes are the image's rows and columns."""

from collections.abc import Collection

import torch
from torch import nn

from klas.networks.layout import Layout, maps_and_prefix

MOST_PREFIX_TOKENS = 16
"""Where a network doesn't say how many it has: more would be other tokens, or no tokens at all."""


def layout_of(
    shape: tuple[int, ...],
    model: nn.Module,
    input_size: tuple[int, int, int],
    maps: Collection[tuple[int, int]] = (),
) -> Layout | None:
    """The layout of an activation; None if its shape has no positions of the image.

    Args:
        shape: of the activation, without the batch.
        model: may say how many prefix tokens it has, and whether channels come last.
        input_size: (channels, height, width) of its images.
        maps: (height, width) of the maps that the network is known to make.
    """
    if len(shape) == 2:
        length, channels = shape
        declared = int(getattr(model, "num_prefix_tokens", 0) or 0)
        for prefix in dict.fromkeys((declared, 0)):
            grid = _grid(length - prefix, input_size)
            if grid is not None:
                return Layout(channels=channels, grid=grid, prefix=prefix, form="NLC")
        for prefix in range(1, min(MOST_PREFIX_TOKENS, length - 2) + 1):
            grid = _grid(length - prefix, input_size)
            if grid is not None and (grid in maps or _is_of_patches(grid, input_size)):
                return Layout(channels=channels, grid=grid, prefix=prefix, form="NLC")
        return None
    if len(shape) != 3:
        return None
    last = _fits(shape[0], shape[1], input_size)  # (H, W, C)
    first = _fits(shape[1], shape[2], input_size)  # (C, H, W)
    if first and last:
        first = getattr(model, "output_fmt", "NCHW") != "NHWC"
    if first:
        return Layout(channels=shape[0], grid=(shape[1], shape[2]), prefix=0, form="NCHW")
    if last:
        return Layout(channels=shape[2], grid=(shape[0], shape[1]), prefix=0, form="NHWC")
    return None


def _grid(positions: int, input_size: tuple[int, int, int]) -> tuple[int, int] | None:
    """Height and width of a grid of so many positions, in the shape of the images."""
    for height in range(1, positions + 1):
        width, rest = divmod(positions, height)
        if rest == 0 and positions > 1 and _fits(height, width, input_size):
            return height, width
    return None


def _is_of_patches(grid: tuple[int, int], input_size: tuple[int, int, int]) -> bool:
    """Whether the images divide into so many equal patches."""
    _, height, width = input_size
    return height % grid[0] == 0 == width % grid[1]


def _fits(height: int, width: int, input_size: tuple[int, int, int]) -> bool:
    """Whether a grid has the images' aspect ratio, to a rounding of one position."""
    if not (0 < height <= input_size[1] and 0 < width <= input_size[2]):
        return False
    return abs(height - width * input_size[1] / input_size[2]) < (
        1e-6 if input_size[1] == input_size[2] else 1
    )


@torch.inference_mode()
def disorder(
    model: nn.Module, stem: nn.Module, layout: Layout, input_size: tuple[int, int, int]
) -> str | None:
    """What is wrong with the order of the tokens at cut 0, told from changes in an image.

    A network may shuffle its tokens for its own convenience; as a map they would be scrambled.
    """
    device = next(model.parameters()).device
    channels, height, width = input_size
    images = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    changed = images.clone()
    top, left = 5 * height // 8, width // 8
    changed[:, :, top : top + max(height // 8, 1), left : left + max(width // 8, 1)] += 2
    before, after = (maps_and_prefix(stem(x.to(device)), layout)[0] for x in (images, changed))
    answer = (after - before).float().abs().sum((0, 3))  # (H, W)
    total = answer.sum()
    if not bool(torch.isfinite(total)) or total == 0:
        return None  # it can't be tested: weights without values, or a dead stem
    strongest = divmod(int(answer.argmax()), layout.grid[1])
    wanted = (top / height + 1 / 16, left / width + 1 / 16)
    where = [(k + 0.5) / size for k, size in zip(strongest, layout.grid)]
    if any(abs(a - b) >= max(0.2, 1 / size) for a, b, size in zip(where, wanted, layout.grid)):
        return "its tokens are not in the order of the image's rows"
    if layout.prefix and not hasattr(model, "num_prefix_tokens"):
        maps, prefix = (
            (a - b).abs().sum((0, -1))
            for a, b in zip(
                *(maps_and_prefix(stem(x.to(device)), layout) for x in (images, 1 - images))
            )
        )
        if not bool(maps.all()) and bool(prefix.any()):
            return "its tokens that are no part of the image do not come first"
    return None
