"""Cut a network at its blocks.

Today: timm's plain vision transformers. The stem and the head are the model itself with the
other parts taken out, so timm's own code for position embeddings, prefix tokens and pooling
runs unchanged, and the parts share the model's parameters.
"""

import copy
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from klas.errors import AnchorError
from klas.networks.anchor import Layout

SPLITTER = "vit-blocks-1"
"""Recorded in every stitch list: what cut numbers mean depends on it."""


class _Stem(nn.Module):
    def __init__(self, model: VisionTransformer) -> None:
        super().__init__()
        self.model = _without(model, "blocks", "norm", "fc_norm", "head", "head_dist", "attn_pool")

    def forward(self, images: Tensor) -> Tensor:
        """Images to A_0."""
        tokens: Tensor = self.model.forward_features(images)
        return tokens


class _Head(nn.Module):
    def __init__(self, model: VisionTransformer) -> None:
        super().__init__()
        self.model = _without(model, "patch_embed", "blocks", "norm_pre")
        for name in ("cls_token", "reg_token", "dist_token", "pos_embed"):
            self.model._parameters.pop(name, None)

    def forward(self, tokens: Tensor) -> Tensor:
        """A_n to logits."""
        logits: Tensor = self.model.forward_head(self.model.norm(tokens))
        return logits


def split(
    model: nn.Module, name: str
) -> tuple[nn.Module, list[nn.Module], nn.Module, tuple[str, ...]]:
    """Stem, blocks, head, and for each cut the path of the module that ends there.

    Raises:
        AnchorError: the network is of a kind that cannot be cut.
    """
    if not isinstance(model, VisionTransformer):
        raise AnchorError(
            f"{name}: {type(model).__name__} cannot be cut at its blocks yet; "
            "networks that can are timm's VisionTransformer family (vit_*, deit_*)"
        )
    blocks = list(model.blocks)
    cuts = ("norm_pre", *(f"blocks.{k}" for k in range(len(blocks))))
    return _Stem(model), blocks, _Head(model), cuts


@torch.inference_mode()
def layouts(
    stem: nn.Module, blocks: list[nn.Module], model: Any, images: Tensor
) -> tuple[Layout, ...]:
    """The activation's form at each cut, read from one forward pass of ``images``."""
    grid = tuple(model.patch_embed.grid_size)
    prefix = int(model.num_prefix_tokens)
    activation = stem(images)
    found: list[Layout] = []
    for block in [None, *blocks]:
        activation = activation if block is None else block(activation)
        layout = Layout(channels=activation.shape[2], grid=grid, prefix=prefix)
        if activation.shape[1] != layout.positions:
            raise AnchorError(
                f"{type(model).__name__}: {activation.shape[1]} tokens at cut {len(found)}, "
                f"but a grid of {grid} and {prefix} prefix tokens make {layout.positions}"
            )
        found.append(layout)
    return tuple(found)


def _without(model: VisionTransformer, *names: str) -> VisionTransformer:
    """The model with some of its modules replaced by ones that do nothing; the rest is shared."""
    twin = copy.copy(model)
    twin._modules = dict(model._modules)
    twin._parameters = dict(model._parameters)
    for name in names:
        if twin._modules.get(name) is not None:
            twin._modules[name] = nn.Sequential()
    return twin
