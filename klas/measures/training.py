"""The two trained tiers: ``tuned`` (stitch layers alone) and ``finetuned`` (everything jointly)."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from klas.measures.normalisation import spoiling
from klas.measures.race import Race
from klas.measures.schedule import drawn_member, load_training, one_cycle, save_training
from klas.measures.steps import descend
from klas.measures.sweep import Tick
from klas.networks.device import Precision, autocast
from klas.networks.family import Family, Member, statistics_of
from klas.tasks.objective import Objective

MATCHED = 0.5  # the share of the tuning steps in which features are matched
STITCH_RATE = 3.0  # a stitch layer starts untrained, so it may learn faster than its anchors
WEIGHT_DECAY = 0.05
CLIP = 1.0
TINY = 1e-12  # of a variance: a target whose features are constant
CHECKPOINT_SECONDS = 20.0

BatchesFrom = Callable[[int], Iterator[tuple[Tensor, ...]]]
"""From a first step's number to its batch and all that follow: the samples as the source sees
them, (n, C, H, W), the same samples as the target sees them, and targets (n, …)."""


def tune(
    family: Family,
    batches_from: BatchesFrom,
    *,
    objective: Objective,
    steps: int,
    lr: float,
    tick: Tick,
    matched: float = MATCHED,
    precision: Precision = "float32",
) -> None:
    """Train every stitch's T by AdamW on the same batches, the anchors frozen; in place.

    The source runs once per step for all stitches. Their losses share no parameter, so one
    optimiser serves all and each is trained exactly as if it were alone. Behind its T the target
    normalises by each batch's own statistics; the stitches are left without any. With fixed ones,
    the target's or the stitch's first, T learns to live with what does not fit it.

    At first, by default in half of the steps, T learns to give the target's head what the target
    itself would give it (arXiv 2603.12433), then the task. At equal steps that is better than the
    task alone on every network tried (docs/results.md), while matching the whole last activation,
    token by token, is far worse where few channels are mapped.

    One stitch follows another, so that its numbers don't depend on which others there are.
    Several as one batch, so that each block of the target is called once for all that have entered,
    would gain little: at 128 images and one thread, the passes through the target take 4 % less in
    digits tiny → small and 12 % less in small → convnet, but 3 % (two stitches) to 21 % (twelve)
    more in small → base, whose activations then leave the processor's cache.

    Args:
        matched: the share of the steps before the task's.
    """
    family.use("target").eval()
    family.statistics.clear()
    optimizer = torch.optim.AdamW(family.layers.parameters(), lr=lr, weight_decay=0.0)
    source, target = family.source, family.target
    stitches = [(i, j, family.layer((i, j))) for i, j in family.places]
    deepest = max(i for i, _ in family.places)
    last = target.info.layouts[-1]
    spare = {name: value.clone() for name, value in statistics_of(target).items()}
    for step, (inputs, own, targets) in zip(range(steps), batches_from(0)):
        matching = step < int(matched * steps)
        with torch.no_grad(), autocast(inputs.device, precision):
            activations = source.cut_activations(inputs, upto=deepest)
            if matching:
                activation = target.run_blocks(target.stem(own), 0)
                wanted = objective.head_features(activation, last).float()
                spread = wanted.var().clamp(min=TINY)
        for group in optimizer.param_groups:
            group["lr"] = lr * one_cycle(step, steps)
        optimizer.zero_grad()
        with spoiling(target, spare):
            for i, j, layer in stitches:
                with autocast(inputs.device, precision):
                    moved = layer(activations[i])
                    if matching:
                        activation = target.run_blocks(moved, j)
                        features = objective.head_features(activation, last).float()
                        loss = mse_loss(features, wanted) / spread
                    else:
                        loss = objective.loss(target.resume(moved, j), targets)
                loss.backward()
        optimizer.step()
        tick(1)


def finetune(
    family: Family,
    batches_from: BatchesFrom,
    *,
    objective: Objective,
    steps: int,
    lr: float,
    seed: int,
    checkpoint: Path,
    tick: Tick,
    teach: Callable[[Tensor, Tensor], Tensor] | None = None,
    anchors_too: bool = True,
    race: Race | None = None,
    precision: Precision = "float32",
) -> None:
    """Train stitches and anchors jointly, SN-Net's way: one random member a step; in place.

    The members are the stitches and the anchors that have a head. The anchors' rate is ``lr``,
    the stitch layers' three times that. Every choice is a function of (seed, step) and the state
    is saved to ``checkpoint`` now and then, so an interrupted run goes on to the same weights.

    Args:
        teach: from the source's and the target's view to a teacher's outputs; the classes that
            these predict are then half of the loss (hard distillation, as in SN-Net).
        anchors_too: whether the anchors are members too; their weights are trained in any case.
        race: drops stitches on the way, which then are members no longer.

    Raises:
        DivergedError: the loss is no longer a number; names the step.
    """
    anchors: list[Member] = [*(family.anchors if anchors_too else ())]
    stitch_parameters = list(family.layers.parameters())
    anchor_parameters = [*family.source.parameters(), *family.target.parameters()]
    for parameter in anchor_parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [
            {"params": anchor_parameters, "peak": lr},
            {"params": stitch_parameters, "peak": lr * STITCH_RATE},
        ],
        weight_decay=WEIGHT_DECAY,
    )
    modules: dict[str, nn.Module] = {"source": family.source, "target": family.target}
    modules |= {f"stitch-{name}": layer for name, layer in family.layers.items()}
    if race is not None:
        modules["race"] = race
    done = load_training(checkpoint, modules, optimizer)
    tick(done)
    family.train()

    def losses(step: int, batch: tuple[Tensor, ...]) -> Iterator[Tensor]:
        inputs, own, targets = batch
        if race is not None:
            race.hold(step, family)
        members = [*(family.places if race is None else race.places(step)), *anchors]
        torch.manual_seed(seed * 2**24 + step)  # so that dropout depends on the step alone too
        member = members[drawn_member(seed, step, len(members))]
        with autocast(inputs.device, precision):
            outputs = family.use(member)(family.view(member, inputs, own))
            loss = objective.loss(outputs, targets)
            if teach is not None:
                with torch.no_grad():
                    taught = objective.hard_targets(teach(inputs, own))
                loss = (loss + objective.loss(outputs, taught)) / 2
        yield loss

    def rate(step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * one_cycle(step, steps)

    taken = descend(
        optimizer,
        batches_from(done),
        losses,
        first=done,
        last=steps,
        rate=rate,
        clip=CLIP,
        diverged=lambda step: f"fine-tuning diverged at step {step + 1}; lower [finetuning] lr",
    )
    saved = time.monotonic()
    for step, _ in enumerate(taken, done):
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save_training(checkpoint, step + 1, modules, optimizer)
            saved = time.monotonic()
        tick(1)
    family.eval()
    if race is not None and steps == 0:
        race.hold(0, family)
