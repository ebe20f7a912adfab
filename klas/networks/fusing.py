"""timm's fused form of a network: what is deployed in place of what is trained.

Some networks train parallel branches and batch normalisation that, once trained, fold into single
convolutions (MobileOne, RepVGG, LeViT, …). The outputs stay the same up to rounding, at a
fraction of the cost.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from timm.models import reparameterize_model
from torch import nn

from klas.errors import AnchorError, one_line
from klas.networks.anchor import Anchor, AnchorInfo
from klas.networks.segmenter import Segmenter
from klas.networks.splitting.split import split

TOLERANCE = 1e-3
"""How far outputs of the fused form may be from the trained form's, relative to the largest."""

_METHODS = ("fuse", "reparameterize", "switch_to_deploy")  # what timm looks for in a module


def fused_network(network: nn.Module, name: str, input_size: tuple[int, int, int]) -> nn.Module:
    """A fused copy of a network in eval mode on the CPU; it gives the same outputs.

    Args:
        name: the anchor's, for the error's sentence.
        input_size: (channels, height, width) of its images.

    Raises:
        AnchorError: timm has nothing to fuse in it, or fuses it to something else.
    """
    what = f"{name}: `fused` is asked for, but {type(network).__name__}"
    try:
        fused = _fused(network)
        same = fused is not None and _gives_the_same(network, fused, input_size)
    except Exception as error:  # a module's own method may raise anything
        raise AnchorError(f"{what} cannot be fused ({one_line(error)})") from None
    if fused is None:
        raise AnchorError(f"{what} has nothing that timm can fuse; leave `fused` out")
    if not same:
        raise AnchorError(f"{what} gives other outputs when timm fuses it; leave `fused` out")
    return fused


def fused_form(anchor: Anchor) -> nn.Module | None:
    """An anchor's whole network in its fused form, on the CPU; None where it has none."""
    if not _can_fuse(anchor.network):
        return None
    info, network = anchor.info, deepcopy(anchor.network).cpu()
    try:
        return fused_network(network, info.name, info.images.input_size)
    except AnchorError:
        return None


def cut_alike(fused: nn.Module, info: AnchorInfo) -> Sequence[nn.Module] | None:
    """The parts of an anchor's fused form: the stem, blocks 1..n, the head.

    None where it cannot be cut at the places at which the anchor is.
    """
    try:
        parts = split(fused, info.name, info.images.input_size)
    except AnchorError:
        return None
    same = parts.layouts == info.layouts and all(map(_same_place, parts.cuts, info.cuts))
    return [parts.stem, *parts.blocks, parts.head] if same else None


def _fused(network: nn.Module) -> nn.Module | None:
    if not _can_fuse(network):
        return None
    fused: nn.Module = reparameterize_model(network)
    return None if _form(fused) == _form(network) else fused


def _can_fuse(network: nn.Module) -> bool:
    if isinstance(network, Segmenter):
        return False  # its parts are those of the form that it was cut in
    inside = (m for m in network.modules() if m is not network)
    return any(hasattr(m, method) for m in inside for method in _METHODS)


def _gives_the_same(network: nn.Module, fused: nn.Module, input_size: Sequence[int]) -> bool:
    """Whether the outputs for one random image agree within :data:`TOLERANCE`."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, *input_size, generator=generator)
    with torch.no_grad():
        want, have = network(image), fused(image)
    return bool((want - have).abs().max() <= TOLERANCE * want.abs().max())


def _form(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _same_place(path: str, other: str) -> bool:
    """Whether one of two modules lies within the other: fusing takes layers away."""
    longer, shorter = sorted((f"{path}.", f"{other}."), key=len, reverse=True)
    return longer.startswith(shorter)
