"""How networks do on every sample: stitches from one pass of their source, or a network alone."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from klas.measures.sweep import Tick
from klas.networks.device import Precision, autocast
from klas.networks.family import Family
from klas.selection.space import Place
from klas.tasks.objective import Objective

Outcomes = NDArray[Any]
"""(N, …) of every sample in the order of the pass, as the task counts it."""

Batches = Iterable[tuple[Tensor, ...]]
"""Of (inputs, targets)."""


def stitch_outcomes(
    family: Family,
    batches: Callable[[], Batches],
    tick: Tick,
    *,
    objective: Objective,
    precision: Precision = "float32",
) -> dict[Place, Outcomes]:
    """For each stitch of a family, how it does on every sample.

    One pass of the source serves all, unless its blocks have other normalisation statistics in
    every stitch, as after a joint training: then each needs its own pass over the samples.

    Args:
        batches: begins a pass over the samples as the source sees them.
        tick: called with the samples of every batch if one pass serves all.
    """
    if family.shares_source:
        return _in_one_pass(family, batches(), tick, objective=objective, precision=precision)
    return {
        place: network_outcomes(
            family.use(place), batches(), objective=objective, precision=precision
        )
        for place in family.places
    }


@torch.inference_mode()
def _in_one_pass(
    family: Family,
    batches: Batches,
    tick: Tick,
    *,
    objective: Objective,
    precision: Precision,
) -> dict[Place, Outcomes]:
    """The outcomes of all stitches, with one pass of the source.

    Each stitch goes on from there alone, with the very shapes that it has as a network of its own,
    so its accuracy is that network's to the last bit.
    """
    # All outcomes stay on the device, so that nothing waits for it before the end.
    outcomes: dict[Place, list[Tensor]] = {place: [] for place in family.places}
    deepest = max((i for i, _ in family.places), default=0)
    for inputs, targets in batches:
        with autocast(inputs.device, precision):
            for cut, activation in enumerate(family.source.walk(inputs, upto=deepest)):
                for place in (p for p in family.places if p[0] == cut):
                    moved = family.use(place).layer(place)(activation)
                    outputs = family.target.resume(moved, place[1])
                    outcomes[place].append(objective.outcomes(outputs, targets))
        tick(len(targets))
    return {place: torch.cat(parts).cpu().numpy() for place, parts in outcomes.items()}


@torch.inference_mode()
def network_outcomes(
    network: nn.Module,
    batches: Batches,
    *,
    objective: Objective,
    precision: Precision = "float32",
) -> Outcomes:
    """(N, …) how a whole network does on every sample."""
    outcomes = []  # on the device until the end, so that nothing waits for it before
    for inputs, targets in batches:
        with autocast(inputs.device, precision):
            outcomes.append(objective.outcomes(network(inputs), targets))
    every: Outcomes = torch.cat(outcomes).cpu().numpy()
    return every
