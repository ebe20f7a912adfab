"""Join two anchors: source blocks 1..i, a linear stitch layer T, target blocks j+1..n."""

import torch
from torch import Tensor, nn

from klas.errors import AnchorError
from klas.networks.anchor import Anchor, Layout


def check_layouts(source: Layout, target: Layout, what: str) -> None:
    """Refuse two cuts whose tokens do not correspond one to one.

    Raises:
        AnchorError: the grids or the numbers of prefix tokens differ.
    """
    if source.grid != target.grid or source.prefix != target.prefix:
        raise AnchorError(
            f"{what}: the source has a {source.grid} grid and {source.prefix} prefix tokens, the "
            f"target {target.grid} and {target.prefix}; anchors must agree in both for now"
        )


def stitch_layer(source: Layout, target: Layout) -> nn.Linear:
    """T between two cuts: linear on channels, the same at every token; zero until it is fitted."""
    layer = nn.Linear(source.channels, target.channels)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def set_stitch_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Give T its values: weight (C_out, C_in), bias (C_out,)."""
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


class Stitch(nn.Module):
    """The stitched network (f, i, g, j). Its parts are the anchors' own, T is new."""

    def __init__(self, source: Anchor, i: int, target: Anchor, j: int, layer: nn.Linear) -> None:
        super().__init__()
        check_layouts(
            source.info.layouts[i],
            target.info.layouts[j],
            f"{source.info.name}:{i} → {target.info.name}:{j}",
        )
        self.stem = source.stem
        self.front = nn.Sequential(*source.blocks[:i])
        self.layer = layer
        self.back = nn.Sequential(*target.blocks[j:])
        self.head = target.head

    def forward(self, images: Tensor) -> Tensor:
        """Images as the *source* sees them, (N, C, H, W), to logits (N, classes)."""
        logits: Tensor = self.head(self.back(self.layer(self.front(self.stem(images)))))
        return logits
