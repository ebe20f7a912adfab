"""Cost of anchors, parts and stitches: multiply–accumulates and parameters.

torch's own FLOP counter counts a forward pass on the ``meta`` device, where nothing is computed.
There it counts attention, which it misses on the CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from klas.networks.anchor import Anchor, AnchorInfo
from klas.networks.side_effects import undo_side_effects
from klas.networks.stitch import layer_macs, layer_params


@dataclass(frozen=True, kw_only=True)
class AnchorCost:
    """What an anchor's parts cost for one image.

    Attributes:
        macs: of each part: the stem, blocks 1..n, the head.
        front_params: parameters up to cut 0..n; what parts share counts once.
        back_params: parameters from cut 0..n on, likewise.
        total_params: of the whole anchor.
    """

    macs: tuple[int, ...]
    front_params: tuple[int, ...]
    back_params: tuple[int, ...]
    total_params: int

    @property
    def total_macs(self) -> int:
        """MACs of the whole anchor for one image."""
        return sum(self.macs)

    def front(self, cut: int) -> tuple[int, int]:
        """(MACs, parameters) up to a cut: the stem and blocks 1..cut."""
        return sum(self.macs[: cut + 1]), self.front_params[cut]

    def back(self, cut: int) -> tuple[int, int]:
        """(MACs, parameters) from a cut on: blocks cut + 1..n and the head."""
        return sum(self.macs[cut + 1 :]), self.back_params[cut]


def module_macs(module: nn.Module, *inputs: Tensor) -> tuple[int, Tensor]:
    """MACs of one forward pass, and its output, on the ``meta`` device.

    The module itself stays where it is.

    Args:
        module: what is counted.
        inputs: meta tensors; at batch 1 the MACs are those of one image.
    """
    tensors = [*module.named_parameters(), *module.named_buffers()]
    meta = {name: tensor.detach().to("meta") for name, tensor in tensors}
    counter = FlopCounterMode(display=False)
    # Tables that a network makes while it runs must be made on meta too.
    with counter, torch.no_grad(), undo_side_effects(module), torch.device("meta"):
        output = functional_call(module, meta, inputs)
    return counter.get_total_flops() // 2, output


def anchor_cost(anchor: Anchor) -> AnchorCost:
    """The cost of an anchor, part by part, for one image."""
    activation = torch.empty(1, *anchor.info.transform.input_size, device="meta")
    parts = [anchor.stem, *anchor.blocks, anchor.head]
    macs = []
    for part in parts:
        part_macs, activation = module_macs(part, activation)
        macs.append(part_macs)
    cuts = range(1, len(parts))
    return AnchorCost(
        macs=tuple(macs),
        front_params=tuple(_params(parts[:k]) for k in cuts),
        back_params=tuple(_params(parts[k:]) for k in cuts),
        total_params=_params(parts),
    )


def _params(parts: Sequence[nn.Module]) -> int:
    return sum({p: p.numel() for part in parts for p in part.parameters()}.values())


def stitch_cost(
    source: AnchorInfo,
    source_cost: AnchorCost,
    i: int,
    target: AnchorInfo,
    target_cost: AnchorCost,
    j: int,
) -> tuple[int, int]:
    """(MACs, parameters) of the stitch (f, i, g, j) for one image: both parts and T.

    Args:
        source, source_cost, i: f, its cost, and its last block.
        target, target_cost, j: g, its cost, and the block after which it goes on.

    Raises:
        AnchorError: one activation is a sequence and the other a map.
    """
    have, want = source.layouts[i], target.layouts[j]
    front, back = source_cost.front(i), target_cost.back(j)
    return (
        front[0] + layer_macs(have, want) + back[0],
        front[1] + layer_params(have, want) + back[1],
    )
