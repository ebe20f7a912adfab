"""Normalisation statistics of networks that share layers: they belong to the whole network.

Behind a stitch, and after a joint training, the statistics that an anchor was trained with are
those of other activations. So every member's are taken again from training images.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from klas.networks.device import Precision, autocast
from klas.networks.family import Family, normalisations, put_statistics, statistics_of
from klas.selection.space import Place
from klas.tasks.objective import Objective

CALIBRATION = 1_000
"""How many training images statistics are taken from."""

CALIBRATION_BATCH = 50  # not what memory takes: a batch's statistics depend on its size


def in_whole_batches(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Which of some rows statistics are taken from, and how many of them make a batch.

    Every batch counts the same, so a rest is left out.

    Examples:
        >>> rows, batch = in_whole_batches(np.arange(120))
        >>> len(rows), batch
        (100, 50)
    """
    batch = min(CALIBRATION_BATCH, len(rows))
    return rows[: len(rows) // batch * batch], batch


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
    calibrate_places(family, batches, precision=precision)
    for role in family.anchors:
        recalibrate(family.network(role), batches(family.viewer(role)), precision=precision)


def calibrate_places(
    family: Family,
    batches: Callable[[str], Iterable[tuple[Tensor, ...]]],
    *,
    precision: Precision = "float32",
) -> None:
    """Of :func:`calibrate` the stitches alone."""
    if has_statistics(family.source) or has_statistics(family.target):
        for place in family.places:
            network, seen = family.network(place), batches(family.viewer(place))
            family.statistics[place] = recalibrate(network, seen, precision=precision)


@torch.no_grad()
def calibrate_stitches(
    family: Family,
    batches: Iterable[tuple[Tensor, ...]],
    *,
    objective: Objective,
    precision: Precision = "float32",
) -> dict[Place, float]:
    """Give every stitch between frozen anchors normalisation statistics of its own.

    The source's blocks see what they always see, so only the target's part has new ones, and one
    pass of the source serves all stitches.

    Args:
        batches: (inputs as the source sees them, targets); every batch counts the same.

    Returns:
        Each stitch's mean loss, while its layers normalise by each batch's own statistics.
    """
    family.eval()
    blank_statistics(family)
    deepest = max((i for i, _ in family.places), default=0)
    losses: dict[Place, list[Tensor]] = {place: [] for place in family.places}
    for number, (inputs, targets) in enumerate(batches, 1):
        with autocast(inputs.device, precision), normalising_by_batch(family.target, number):
            for cut, activation in enumerate(family.source.walk(inputs, upto=deepest)):
                for place in (p for p in family.places if p[0] == cut):
                    moved = family.use(place).layer(place)(activation)
                    outputs = family.target.resume(moved, place[1])
                    losses[place].append(objective.loss(outputs, targets))
    family.use("target")
    if not losses:
        return {}
    # One transfer for all: each would wait for the device.
    means = torch.stack([torch.stack(each).mean() for each in losses.values()])
    return dict(zip(losses, means.tolist()))


def blank_statistics(family: Family) -> None:
    """Give every stitch room for statistics of its own behind its layer, of no images yet."""
    if has_statistics(family.target):
        for place in family.places:
            own = statistics_of(family.stitch(place))
            behind = {n: v for n, v in own.items() if n.startswith(("back.", "head."))}
            family.statistics[place] = _blank(behind)


def has_statistics(network: nn.Module) -> bool:
    """Whether a network has layers with running statistics."""
    return bool(normalisations(network))


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
    statistics = _blank(statistics_of(network))
    if not statistics:
        return {}
    put_statistics(network, statistics)
    for number, (images, *_) in enumerate(batches, 1):
        with autocast(images.device, precision), normalising_by_batch(network, number):
            network(images)
    return {name: value.clone() for name, value in statistics.items()}


def _blank(statistics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Statistics of no images: the first batch leaves nothing of their values."""
    return {name: torch.zeros_like(value) for name, value in statistics.items()}


@contextmanager
def normalising_by_batch(network: nn.Module, number: int = 1) -> Iterator[None]:
    """Let a network in eval mode normalise by each batch's own statistics, as in training.

    Args:
        number: the running statistics become the plain mean of those of so many batches.
    """
    layers = list(normalisations(network).values())
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.training = True  # the layer alone: what it holds may drop values in that mode
        layer.momentum = 1 / number  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.training = False
            layer.momentum = momentum


@contextmanager
def spoiling(network: nn.Module, spare: Mapping[str, Tensor]) -> Iterator[None]:
    """Let a network normalise by each batch's own statistics, and keep those that it has.

    Args:
        spare: what is spoiled in their place, by their names in the network's state.
    """
    kept = statistics_of(network)
    put_statistics(network, spare)
    try:
        with normalising_by_batch(network):
            yield
    finally:
        put_statistics(network, kept)
