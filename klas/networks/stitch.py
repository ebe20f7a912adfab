"""Join two anchors: source blocks 1..i, a linear stitch layer T, target blocks j+1..n.

T is a linear map on channels, the same at every position. Between different grids the
activation is resized; the two commute, so T runs on the smaller grid. Equal numbers of prefix
tokens pass through the same T. Of unequal ones, the source's are dropped, and each of the target's
gets a linear map of its own from the mean over the source's grid. Two sequences (texts) are joined
position by position.
"""

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from klas.errors import AnchorError
from klas.networks.anchor import Anchor
from klas.networks.layout import Layout, maps_and_prefix, resized

State = dict[str, Tensor]
"""T's values: ``weight`` (C_out, C_in), ``bias`` (C_out,); between unequal prefixes also
``prefix_weight`` (P, C_out, C_in), ``prefix_bias`` (P, C_out)."""

VALUES = ("weight", "bias", "prefix_weight", "prefix_bias")
"""Their names."""


def own_prefix(source: Layout, target: Layout) -> int:
    """How many prefix tokens of the target have maps of their own."""
    return 0 if source.prefix == target.prefix else target.prefix


def smaller_grid(source: Layout, target: Layout) -> tuple[int, ...]:
    """The grid that T runs on; empty between two sequences.

    Raises:
        AnchorError: one is a sequence and the other a map.
    """
    if bool(source.grid) != bool(target.grid):
        grid = " × ".join(map(str, source.grid or target.grid))
        raise AnchorError(
            f"a sequence and a map of {grid} positions cannot be stitched; "
            "give two anchors for texts or two for images"
        )
    return min(source.grid, target.grid, key=prod)


def layer_macs(source: Layout, target: Layout) -> int:
    """MACs of T for one image, or for one position of a sequence.

    Raises:
        AnchorError: one is a sequence and the other a map.
    """
    positions = prod(smaller_grid(source, target)) + target.prefix
    return positions * source.channels * target.channels


def layer_params(source: Layout, target: Layout) -> int:
    """Parameters of T."""
    return (1 + own_prefix(source, target)) * (source.channels + 1) * target.channels


class StitchLayer(nn.Module):
    """T between two cuts; zero until it has values.

    Raises:
        AnchorError: one is a sequence and the other a map.

    Examples:
        From tokens on a grid of 4×4, with a class token, to a map of 2×2:

        >>> source = Layout(channels=8, grid=(4, 4), prefix=1)
        >>> target = Layout(channels=6, grid=(2, 2), prefix=0, form="NCHW")
        >>> layer = StitchLayer(source, target)
        >>> layer(torch.zeros(5, 17, 8)).shape
        torch.Size([5, 6, 2, 2])
        >>> layer_macs(source, target), layer_params(source, target)  # 4 · 8 · 6, (8 + 1) · 6
        (192, 54)
    """

    def __init__(self, source: Layout, target: Layout) -> None:
        super().__init__()
        self.source = source
        self.target = target
        self.grid = smaller_grid(source, target)
        into, out, own = source.channels, target.channels, own_prefix(source, target)
        self.weight = nn.Parameter(torch.zeros(out, into))
        self.bias = nn.Parameter(torch.zeros(out))
        if own:
            self.prefix_weight = nn.Parameter(torch.zeros(own, out, into))
            self.prefix_bias = nn.Parameter(torch.zeros(own, out))

    def forward(self, activation: Tensor) -> Tensor:
        """From the form of the source's cut to that of the target's."""
        have, want = self.source, self.target
        same = (have.grid, have.prefix, have.form) == (want.grid, want.prefix, want.form)
        if same and have.form != "NCHW":
            return linear(activation, self.weight, self.bias)
        maps, prefix = maps_and_prefix(activation, have)
        if own_prefix(have, want):
            mean = maps.mean((1, 2))
            prefix = torch.einsum("nc,poc->npo", mean, self.prefix_weight) + self.prefix_bias
        elif want.prefix:
            prefix = linear(prefix, self.weight, self.bias)
        maps = resized(maps, self.grid)
        maps = resized(linear(maps, self.weight, self.bias), want.grid)
        match want.form:
            case "NLC":
                tokens = maps.flatten(1, 2)
                return torch.cat([prefix, tokens], 1) if want.prefix else tokens
            case "NHWC":
                return maps
            case "NCHW":
                # As the target's own layers lay it out: some of them take views of it.
                return maps.permute(0, 3, 1, 2).contiguous()


def stitch_layer(source: Layout, target: Layout, state: Mapping[str, Tensor]) -> StitchLayer:
    """T with its values.

    Raises:
        RuntimeError: the values are not those of a T between these cuts.
    """
    layer = StitchLayer(source, target)
    layer.load_state_dict(dict(state))
    return layer


class Stitch(nn.Module):
    """The stitched network (f, i, g, j). Its parts are the anchors' own, T is new."""

    def __init__(self, source: Anchor, i: int, target: Anchor, j: int, layer: StitchLayer) -> None:
        super().__init__()
        self.stem = source.stem
        self.front = nn.Sequential(*source.blocks[:i])
        self.layer = layer
        self.back = nn.Sequential(*target.blocks[j:])
        self.head = target.head

    def forward(self, images: Tensor) -> Tensor:
        """Images as the *source* sees them, (N, C, H, W), to logits (N, classes)."""
        logits: Tensor = self.head(self.back(self.layer(self.front(self.stem(images)))))
        return logits
