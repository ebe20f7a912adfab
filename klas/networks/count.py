"""Cost of anchors, parts and stitches: multiply–accumulates and parameters.

Counted by torch's own FLOP counter over a forward pass on the ``meta`` device, where nothing
is computed: there attention counts too, which on the CPU it does not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from klas.networks.anchor import Anchor, AnchorInfo


@dataclass(frozen=True, kw_only=True)
class AnchorCost:
    """MACs of one image and parameters, of each part: the stem, blocks 1..n, the head."""

    macs: tuple[int, ...]
    params: tuple[int, ...]

    @property
    def total_macs(self) -> int:
        """Of the whole anchor."""
        return sum(self.macs)

    @property
    def total_params(self) -> int:
        """Of the whole anchor."""
        return sum(self.params)

    def front(self, cut: int) -> tuple[int, int]:
        """(MACs, parameters) up to a cut: the stem and blocks 1..cut."""
        return sum(self.macs[: cut + 1]), sum(self.params[: cut + 1])

    def back(self, cut: int) -> tuple[int, int]:
        """(MACs, parameters) from a cut on: blocks cut + 1..n and the head."""
        return sum(self.macs[cut + 1 :]), sum(self.params[cut + 1 :])


def module_macs(module: nn.Module, *inputs: Tensor) -> tuple[int, Tensor]:
    """MACs of one forward pass on meta tensors, and its output; the module itself stays put."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    meta = {name: tensor.detach().to("meta") for name, tensor in tensors}
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        output = functional_call(module, meta, inputs)
    return counter.get_total_flops() // 2, output


def anchor_cost(anchor: Anchor) -> AnchorCost:
    """Count every part at batch 1. Parameters that parts share would count once per part."""
    activation = torch.empty(1, *anchor.info.transform.input_size, device="meta")
    macs, params = [], []
    for part in (anchor.stem, *anchor.blocks, anchor.head):
        part_macs, activation = module_macs(part, activation)
        macs.append(part_macs)
        params.append(sum(p.numel() for p in part.parameters()))
    return AnchorCost(macs=tuple(macs), params=tuple(params))


def stitch_cost(
    source: AnchorInfo,
    source_cost: AnchorCost,
    i: int,
    target: AnchorInfo,
    target_cost: AnchorCost,
    j: int,
) -> tuple[int, int]:
    """(MACs, parameters) of the stitch (f, i, g, j): both parts and T at every token."""
    have, want = source.layouts[i], target.layouts[j]
    layer_macs = have.positions * have.channels * want.channels
    layer_params = (have.channels + 1) * want.channels
    front, back = source_cost.front(i), target_cost.back(j)
    return front[0] + layer_macs + back[0], front[1] + layer_params + back[1]
