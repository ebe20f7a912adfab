"""An anchor: a pretrained network cut into a stem, blocks 1..n and a head."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The form of the activation at a cut: tokens (N, prefix + grid, channels).

    ``grid`` is (height, width) of the spatial tokens, which follow the prefix tokens.
    """

    channels: int
    grid: tuple[int, int]
    prefix: int

    @property
    def positions(self) -> int:
        """How many tokens an image has here."""
        return self.prefix + self.grid[0] * self.grid[1]


@dataclass(frozen=True, kw_only=True)
class Transform:
    """What an anchor makes of an image: its own size, mean and std, the study's geometry."""

    input_size: tuple[int, int, int]  # channels, height, width
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float
    interpolation: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for keys and files."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class AnchorInfo:
    """What is known of an anchor without running it.

    Attributes:
        name: its name in the study.
        model: the timm model.
        weights: ``{"tag": …}`` or ``{"file": …}``, and ``"sha256"`` of the loaded tensors.
        cuts: for cut 0..n the path of the module that ends there.
        layouts: for cut 0..n the activation's form.
        classes: width of the head's output.
    """

    name: str
    model: str
    weights: dict[str, str]
    cuts: tuple[str, ...]
    layouts: tuple[Layout, ...]
    classes: int
    transform: Transform

    @property
    def digest(self) -> str:
        """SHA-256 over the loaded tensors' names, shapes, types and bytes."""
        return self.weights["sha256"]

    @property
    def depth(self) -> int:
        """n, the number of blocks."""
        return len(self.cuts) - 1


class Anchor(nn.Module):
    """A network as a chain of parts that share its parameters.

    Chained, the parts equal the whole exactly, and being modules they train, move and save
    like any other.
    """

    def __init__(
        self, info: AnchorInfo, stem: nn.Module, blocks: Sequence[nn.Module], head: nn.Module
    ) -> None:
        super().__init__()
        self.info = info
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, classes)."""
        return self.resume(self.stem(images), 0)

    def cut_activations(self, images: Tensor, upto: int | None = None) -> list[Tensor]:
        """A_0 … A_upto: the activations at the cuts, all n + 1 of them by default."""
        activations = [self.stem(images)]
        for block in self.blocks[:upto]:
            activations.append(block(activations[-1]))
        return activations

    def resume(self, activation: Tensor, cut: int) -> Tensor:
        """Logits from an activation at ``cut``: blocks cut + 1 … n, then the head."""
        for block in self.blocks[cut:]:
            activation = block(activation)
        logits: Tensor = self.head(activation)
        return logits


def pooled(activation: Tensor, layout: Layout, pool: str) -> Tensor:
    """(N, L, C) to the unit's features (N, C): the mean over all tokens, or over the prefix."""
    tokens = activation if pool == "mean" else activation[:, : layout.prefix]
    return tokens.float().mean(1)


def freeze(anchor: Anchor, device: torch.device) -> Anchor:
    """The anchor on ``device``, in eval mode, without gradients for its parameters."""
    anchor.to(device).eval()
    for parameter in anchor.parameters():
        parameter.requires_grad_(False)
    return anchor
