"""Cost of anchors, parts and stitches: multiply–accumulates and parameters.

A forward pass on the ``meta`` device, where nothing is computed, is counted operator by operator
(:mod:`klas.networks.operators`). There attention is counted too, which torch's own counter misses
on the CPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from klas.errors import AnchorError
from klas.networks.anchor import Anchor, AnchorInfo
from klas.networks.fusing import cut_alike, fused_form
from klas.networks.operators import MacCounter, NoFakeKernelError
from klas.networks.side_effects import undo_side_effects
from klas.networks.stitch import layer_macs, layer_params


class Cost(NamedTuple):
    """What a network costs for one image, or for one token of a text.

    Attributes:
        macs: a lower bound where ``uncounted`` names something.
        params: how many parameters it has.
        uncounted: operators in it that may do MACs and have no formula.
    """

    macs: int
    params: int
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AnchorCost:
    """What an anchor's parts cost for one image, or for one token of a text of the study's length.

    Attributes:
        macs: of each part: the stem, blocks 1..n, the head.
        front_params: parameters up to cut 0..n; what parts share counts once.
        back_params: parameters from cut 0..n on, likewise.
        total_params: of the whole anchor.
        uncounted: of each part, the operators that may do MACs and have no formula.
        deployed_total: what the whole fused form costs (:mod:`klas.networks.fusing`); None where
            there is none, and for an anchor that is fused already.
        deployed: its cost part by part; None where it cannot be cut at the same places.
    """

    macs: tuple[int, ...]
    front_params: tuple[int, ...]
    back_params: tuple[int, ...]
    total_params: int
    uncounted: tuple[tuple[str, ...], ...]
    deployed_total: Cost | None = None
    deployed: "AnchorCost | None" = None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the plain values that :func:`dataclasses.asdict` gives."""
        total, deployed = raw["deployed_total"], raw["deployed"]
        return cls(
            macs=tuple(raw["macs"]),
            front_params=tuple(raw["front_params"]),
            back_params=tuple(raw["back_params"]),
            total_params=raw["total_params"],
            uncounted=tuple(tuple(names) for names in raw["uncounted"]),
            deployed_total=None if total is None else Cost(total[0], total[1], tuple(total[2])),
            deployed=None if deployed is None else cls.from_json(deployed),
        )

    @property
    def total_macs(self) -> int:
        """MACs of the whole anchor for one image."""
        return sum(self.macs)

    @property
    def total(self) -> Cost:
        """Of the whole anchor."""
        return Cost(self.total_macs, self.total_params, _names(self.uncounted))

    def front(self, cut: int) -> Cost:
        """Up to a cut: the stem and blocks 1..cut."""
        parts = slice(cut + 1)
        names = _names(self.uncounted[parts])
        return Cost(sum(self.macs[parts]), self.front_params[cut], names)

    def back(self, cut: int) -> Cost:
        """From a cut on: blocks cut + 1..n and the head."""
        parts = slice(cut + 1, None)
        names = _names(self.uncounted[parts])
        return Cost(sum(self.macs[parts]), self.back_params[cut], names)


class Count(NamedTuple):
    """What one forward pass does.

    Attributes:
        macs: of the operators that have a formula.
        uncounted: the operators that may do MACs and have none.
        output: without content.
    """

    macs: int
    uncounted: tuple[str, ...]
    output: Tensor


def count_macs(module: nn.Module, *inputs: Tensor) -> Count:
    """Count one forward pass on the ``meta`` device. The module itself stays where it is.

    Args:
        module: what is counted.
        inputs: meta tensors; at batch 1 the MACs are those of one image.

    Raises:
        NoFakeKernelError: an operator of the module does not run on them.

    Examples:
        >>> count_macs(nn.Linear(5, 7), torch.empty(1, 11, 5, device="meta")).macs  # 11 · 5 · 7
        385
    """
    # Every module once: one with two names would be left with what stands in for its tensors.
    meta = {
        f"{path}.{name}" if path else name: tensor.detach().to("meta")
        for path, part in module.named_modules()
        for name, tensor in (part._parameters | part._buffers).items()
        if tensor is not None
    }
    counter = MacCounter()
    # Tables that a network makes while it runs must be made on meta too.
    with counter, torch.no_grad(), undo_side_effects(module), torch.device("meta"):
        output = functional_call(module, meta, inputs, tie_weights=False)
    return Count(counter.macs, tuple(sorted(counter.uncounted)), output)


def anchor_cost(anchor: Anchor) -> AnchorCost:
    """The cost of an anchor, part by part, for one image, as it is trained and as it is deployed.

    Raises:
        AnchorError: an operator does not run on tensors without content.
    """
    info = anchor.info
    cost = _cost([anchor.stem, *anchor.blocks, anchor.head], info)
    fused = fused_form(anchor)
    if fused is None:
        return cost
    whole = _cost([fused], info).total
    parts = cut_alike(fused, info)
    deployed = None if parts is None else _cost(parts, info)
    return replace(cost, deployed_total=whole, deployed=deployed)


def _cost(parts: Sequence[nn.Module], info: AnchorInfo) -> AnchorCost:
    activation, positions = info.transform.example(), info.transform.positions
    counts = []
    for part in parts:
        try:
            counts.append(count_macs(part, activation))
        except NoFakeKernelError as error:
            raise AnchorError(f"{info.name}: {error}") from None
        activation = counts[-1].output
    cuts = range(1, len(parts))
    return AnchorCost(
        macs=tuple(count.macs // positions for count in counts),
        front_params=tuple(_params(parts[:k]) for k in cuts),
        back_params=tuple(_params(parts[k:]) for k in cuts),
        total_params=_params(parts),
        uncounted=tuple(count.uncounted for count in counts),
    )


def _params(parts: Sequence[nn.Module]) -> int:
    return sum({p: p.numel() for part in parts for p in part.parameters()}.values())


def _names(uncounted: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in uncounted for name in names}))


def stitch_cost(
    source: AnchorInfo,
    source_cost: AnchorCost,
    i: int,
    target: AnchorInfo,
    target_cost: AnchorCost,
    j: int,
) -> Cost:
    """What the stitch (f, i, g, j) costs for one image: both parts and T.

    Args:
        source, source_cost, i: f, its cost, and its last block.
        target, target_cost, j: g, its cost, and the block after which it goes on.

    Raises:
        AnchorError: one activation is a sequence and the other a map.
    """
    have, want = source.layouts[i], target.layouts[j]
    front, back = source_cost.front(i), target_cost.back(j)
    return Cost(
        front.macs + layer_macs(have, want) + back.macs,
        front.params + layer_params(have, want) + back.params,
        _names([front.uncounted, back.uncounted]),
    )


def deployed_stitch_cost(
    source: AnchorInfo,
    source_cost: AnchorCost,
    i: int,
    target: AnchorInfo,
    target_cost: AnchorCost,
    j: int,
) -> Cost | None:
    """What the stitch costs with both parts fused.

    None where neither anchor has a fused form, or one has it whole, but not cut at these places.
    """
    costs = source_cost, target_cost
    fusable = [cost for cost in costs if cost.deployed_total is not None]
    if not fusable or any(cost.deployed is None for cost in fusable):
        return None
    front, back = (cost.deployed or cost for cost in costs)
    return stitch_cost(source, front, i, target, back, j)
