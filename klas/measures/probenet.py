"""The paper's way to train probes: by gradient steps, one probe active in every forward pass.

ProbeNet is the frozen network with a probe at every cut. Each step takes a batch of images to one
cut and moves that cut's probe alone, so the images go through the network once for every cut and
epoch. In four epochs 2 (n + 1) times as many blocks run as in the one sweep that keeps the features
(:mod:`klas.measures.probes`). It is here for comparison with the paper.
The networks are frozen and probes share nothing, so training one after another is the same.

The paper does not say more than that probes have converged by about the fourth epoch. Optimiser,
rate and batch are our reading; features are standardised, and ½ L2 ‖W‖² is added, as in ours.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from klas.measures.probes import Probe
from klas.measures.schedule import one_cycle
from klas.networks.anchor import Anchor
from klas.networks.device import Precision, autocast
from klas.tasks.objective import Objective

EPOCHS = 4
BATCH = 128
LR = 0.1  # the peak of Adam's; 0.01 and 0.03 end farther from the optimum


def steps_of(samples: int) -> int:
    """How many steps the training of one probe takes.

    Examples:
        >>> steps_of(1_000)  # 4 epochs of 8 batches, about
        31
    """
    return max(1, EPOCHS * samples // BATCH)


def train_by_passes(
    anchor: Anchor,
    cut: int,
    batches: Iterator[tuple[Tensor, ...]],
    steps: int,
    *,
    mean: Tensor,
    std: Tensor,
    classes: int,
    l2: float,
    objective: Objective,
    pool: str,
    precision: Precision = "float32",
) -> Probe:
    """Train one cut's probe by Adam, each batch of images run through the network up to there.

    Args:
        anchor: the network, in eval mode; it stays as it is.
        cut: which probe.
        batches: one for each step: (images (n, C, H, W), labels (n,)).
        steps: how many there are.
        mean, std: (C,) of the features on the training images.
        classes: K.
        l2: the weight of ½‖W‖² beside the mean loss.
        objective, pool: what a unit's features are.
        precision: of the forward passes.

    Returns:
        The probe, not said to have converged: gradient steps do not bring it to the optimum.
    """
    layout = anchor.info.layouts[cut]
    weight = torch.zeros(classes, layout.channels, device=mean.device, requires_grad=True)
    bias = torch.zeros(classes, device=mean.device, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias])
    for step, (images, labels) in enumerate(batches):
        with torch.no_grad(), autocast(images.device, precision):
            *_, activation = anchor.walk(images, cut)
            units = objective.units(activation, layout, pool).flatten(0, -2)
            wanted = objective.unit_targets(labels, layout, classes)
        optimizer.param_groups[0]["lr"] = LR * one_cycle(step, steps)
        loss = cross_entropy((units - mean) / std @ weight.T + bias, wanted)
        loss = loss + l2 / 2 * weight.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Probe(mean=mean, std=std, weight=weight.detach(), bias=bias.detach(), converged=False)
