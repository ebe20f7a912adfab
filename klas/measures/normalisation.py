"""Batch normalisation of networks that share parts: statistics belong to the whole network."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from klas.networks.device import Precision, autocast
from klas.networks.family import Family


def calibrate(
    family: Family,
    batches: Callable[[str], Iterable[tuple[Tensor, ...]]],
    *,
    precision: Precision = "float32",
) -> None:
    """Give every member of a family that was trained jointly normalisation statistics of its own.

    A stitch's are kept beside the shared layers (:attr:`Family.statistics`), an anchor's in them,
    as before. A headless anchor is not a member and keeps those that it has.

    Args:
        batches: begins a pass over the same images as an anchor sees them, by its name.
    """
    if has_statistics(family.source) or has_statistics(family.target):
        for place in family.places:
            network, seen = family.network(place), batches(family.viewer(place))
            family.statistics[place] = recalibrate(network, seen, precision=precision)
    for role in family.anchors:
        recalibrate(family.network(role), batches(family.viewer(role)), precision=precision)


def has_statistics(network: nn.Module) -> bool:
    """Whether a network has layers with running statistics."""
    return bool(_norms(network))


def _norms(network: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }


@torch.no_grad()
def recalibrate(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, ...]],
    *,
    precision: Precision = "float32",
) -> dict[str, Tensor]:
    """Take the running statistics again, from images (Izmailov et al., 2018, section 3.2).

    A layer that several stitches train has statistics mixed from all of them, which fit none. The
    network is left in eval mode, with the statistics of these images.

    Args:
        batches: (images, …); every batch counts the same.

    Returns:
        The new statistics by their names in the network's state; nothing where it has none.
    """
    network.eval()
    norms = _norms(network)
    if not norms:
        return {}
    momenta = {name: module.momentum for name, module in norms.items()}
    for module in norms.values():
        module.reset_running_stats()
        module.momentum = None  # the plain mean over all batches
        module.train()
    for images, *_ in batches:
        with autocast(images.device, precision):
            network(images)
    network.eval()
    statistics = {}
    for name, module in norms.items():
        module.momentum = momenta[name]
        for key, value in module.named_buffers(prefix=name):
            statistics[key] = value.clone()
    return statistics
