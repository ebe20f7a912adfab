"""The two trained tiers: ``tuned`` (stitch layers alone) and ``finetuned`` (everything jointly)."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from klas.errors import DivergedError
from klas.measures.schedule import load_training, one_cycle, save_training
from klas.measures.sweep import Tick
from klas.networks.anchor import Anchor
from klas.networks.device import Precision, autocast
from klas.networks.stitch import StitchLayer

STITCH_RATE = 3.0  # a stitch layer starts raw, so it may learn faster than its anchors
WEIGHT_DECAY = 0.05
CLIP = 1.0
CHECKPOINT_SECONDS = 20.0

BatchesFrom = Callable[[int], Iterator[tuple[Tensor, ...]]]
"""From a first step's number to its batch and all that follow: the images as the source sees
them, (n, C, H, W), the same images as the target sees them, and labels (n,)."""


def tune(
    source: Anchor,
    target: Anchor,
    layers: Mapping[tuple[int, int], StitchLayer],
    batches_from: BatchesFrom,
    *,
    steps: int,
    lr: float,
    tick: Tick,
    precision: Precision = "float32",
) -> None:
    """Train every stitch's T by AdamW on the same batches, the anchors frozen; in place.

    The source runs once per step for all stitches. Their losses share no parameter, so one
    optimiser serves all and each is trained exactly as if it were alone.
    """
    source.eval()
    target.eval()
    parameters = [p for layer in layers.values() for p in layer.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    for step, (images, _, labels) in zip(range(steps), batches_from(0)):
        with torch.no_grad(), autocast(images.device, precision):
            activations = source.cut_activations(images, upto=max(i for i, _ in layers))
        for group in optimizer.param_groups:
            group["lr"] = lr * one_cycle(step, steps)
        optimizer.zero_grad()
        for (i, j), layer in layers.items():
            with autocast(images.device, precision):
                loss = cross_entropy(target.resume(layer(activations[i]), j), labels)
            loss.backward()
        optimizer.step()
        tick(1)


def finetune(
    source: Anchor,
    target: Anchor,
    layers: Mapping[tuple[int, int], StitchLayer],
    batches_from: BatchesFrom,
    *,
    steps: int,
    lr: float,
    seed: int,
    checkpoint: Path,
    tick: Tick,
    teach: Callable[[Tensor, Tensor], Tensor] | None = None,
    anchors_too: bool = True,
    precision: Precision = "float32",
) -> None:
    """Train stitches and anchors jointly, SN-Net's way: one random member a step; in place.

    The members are the stitches and the anchors that have a head. The anchors' rate is ``lr``,
    the stitch layers' three times that. Every choice is a function of (seed, step) and the state
    is saved to ``checkpoint`` now and then, so an interrupted run goes on to the same weights.

    Args:
        teach: from the source's and the target's view to a teacher's logits; its guesses are
            then half of the goal (hard distillation, as SN-Net).
        anchors_too: whether the anchors are members; without them they are only material.

    Raises:
        DivergedError: the loss is no longer a number; names the step.
    """
    stitches = list(layers)
    whole = [anchor for anchor in (source, target) if anchors_too and anchor.info.classes]
    stitch_parameters = [p for layer in layers.values() for p in layer.parameters()]
    anchor_parameters = [*source.parameters(), *target.parameters()]
    for parameter in anchor_parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [
            {"params": anchor_parameters, "peak": lr},
            {"params": stitch_parameters, "peak": lr * STITCH_RATE},
        ],
        weight_decay=WEIGHT_DECAY,
    )
    modules = {"source": source, "target": target} | {
        f"stitch-{i}-{j}": layer for (i, j), layer in layers.items()
    }
    done = load_training(checkpoint, modules, optimizer)
    tick(done)
    source.train()
    target.train()
    saved = time.monotonic()
    for step, (images, own, labels) in zip(range(done, steps), batches_from(done)):
        torch.manual_seed(seed * 2**24 + step)  # what dropout draws is the step's too
        member = int(np.random.default_rng([seed, step]).integers(len(stitches) + len(whole)))
        with autocast(images.device, precision):
            if member < len(stitches):
                i, j = stitches[member]
                *_, activation = source.walk(images, upto=i)
                logits = target.resume(layers[i, j](activation), j)
            else:
                network = whole[member - len(stitches)]
                logits = network(images if network is source else own)
            loss = cross_entropy(logits, labels)
            if teach is not None:
                with torch.no_grad():
                    guess = teach(images, own).argmax(1)
                loss = (loss + cross_entropy(logits, guess)) / 2
        if not bool(torch.isfinite(loss)):
            raise DivergedError(f"fine-tuning diverged at step {step + 1}; lower [finetuning] lr")
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * one_cycle(step, steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(anchor_parameters + stitch_parameters, CLIP)
        optimizer.step()
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save_training(checkpoint, step + 1, modules, optimizer)
            saved = time.monotonic()
        tick(1)
    source.eval()
    target.eval()
