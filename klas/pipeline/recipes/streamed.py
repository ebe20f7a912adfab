"""Probes whose predictions are streamed: of decoders, which have as many units as tokens.

Nothing is kept of a unit. Wherever predictions are compared, the decoders run again, and their
logits exist for a few positions at a time (:mod:`klas.measures.translators`).
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.measures.divergence import Bounds, chunk_bounds, prediction_sums, theta
from klas.measures.schedule import batch_rows
from klas.measures.sweep import Tick
from klas.measures.translators import (
    Translators,
    next_token_hits,
    positions_at_once,
    streamed_logits,
    train_translators,
)
from klas.networks.batch_size import FLOAT_BYTES, enough_memory_for, image_bytes
from klas.networks.device import autocast
from klas.pipeline.context import Context
from klas.pipeline.recipes.recipe import Cost
from klas.pipeline.speed import Speed
from klas.results.result import ProbeAccuracy, Probes, Theta, ThetaOutput
from klas.selection.bootstrap import block_of
from klas.storage.arrays import Arrays

LOGITS_AT_ONCE = 6  # arrays of a chunk's size that comparing has in memory
BACKWARD = 2.0  # cost of a backward pass, in forward passes


def train_probes(result: Probes, context: Context, tick: Tick) -> Arrays:
    """All probes of a decoder together, ``cut0.weight``, ``cut0.bias``, …, ``converged``.

    The last one has no values: it is the decoder itself.
    """
    anchor, settings = context.anchors[result.anchor], context.study.probes
    rows, cuts, taken = context.train.rows, anchor.info.depth + 1, 0

    def batches_from(first: int) -> Iterator[tuple[Tensor, ...]]:
        order = batch_rows(
            first, settings.steps, rows=len(rows), batch=settings.batch, seed=context.study.seed
        )
        images = context.train.images
        return context.batches(images, rows[order], result.anchor, batch=settings.batch)

    def step_done(count: int) -> None:
        """Progress is counted in probes, and all grow at once."""
        nonlocal taken
        before, taken = taken, taken + count
        tick(taken * cuts // settings.steps - before * cuts // settings.steps)

    with enough_memory_for(f"probes' batches of {settings.batch} texts; lower [probes] batch"):
        translators, settled = train_translators(
            anchor,
            batches_from,
            steps=settings.steps,
            lr=settings.lr,
            tick=step_done,
            precision=context.precision,
        )
    arrays: Arrays = {}
    for k, (weight, bias) in enumerate(zip(translators.weight, translators.bias)):
        arrays[f"cut{k}.weight"] = weight.detach().cpu().numpy()
        arrays[f"cut{k}.bias"] = bias.detach().cpu().numpy()
    return arrays | {"converged": np.array(settled)}


def probe_accuracies(result: ProbeAccuracy, context: Context) -> list[float]:
    """(n + 1,) how often each probe's likeliest word is the next one, of all positions."""
    words = context.anchors[result.anchor].info.classes
    stream = _stream(context, _bounds(context, words, result.anchor), words, result.anchor)
    depth = context.anchors[result.anchor].info.depth
    return [float(share) for share in next_token_hits(stream, depth + 1)]


def theta_sums(result: Theta, context: Context) -> dict[str, NDArray[np.float64]]:
    """As of :func:`klas.measures.divergence.prediction_sums`, the mean over a text's positions."""
    names = dict.fromkeys(result.names)
    bounds = _bounds(context, context.words, *names)
    stream = _stream(context, bounds, context.words, *names)
    # Of one decoder the same logits stand on both sides.
    pairs = ((logits[0], logits[len(names) - 1]) for *logits, _ in stream)
    length = _length(context)
    return {name: sums / length for name, sums in prediction_sums(pairs, bounds).items()}


@torch.inference_mode()
def theta_of_outputs(result: ThetaOutput, context: Context) -> float:
    """Θ of what two decoders foretell: the mean over all positions, in nats."""
    words = context.words

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        val, first = context.val, context.anchors[result.source]
        for one, other, _ in context.batches(val.images, val.rows, *result.names):
            with autocast(one.device, context.precision):
                p, q = first(one), context.anchors[result.target](other)
            p, q = (logits[..., :words].float().flatten(0, 1)[None] for logits in (p, q))
            yield from zip(
                p.split(positions_at_once(2, words), 1), q.split(positions_at_once(2, words), 1)
            )

    return float(_mean_theta(pairs()))


def _mean_theta(pairs: Iterator[tuple[Tensor, Tensor]]) -> float:
    total, positions = 0.0, 0
    for p, q in pairs:
        total += float(theta([(p, q)])[0, 0]) * p.shape[1]
        positions += p.shape[1]
    return total / positions


def _bounds(context: Context, words: int, *names: str) -> Bounds:
    """Chunks of all positions of the validation texts, small enough for these probes' logits."""
    blocks = np.repeat(block_of(context.val.samples), _length(context))
    return chunk_bounds(blocks, positions_at_once(_predictions(context, *names), words))


def _predictions(context: Context, *names: str) -> int:
    """How many probes some decoders have together."""
    return sum(context.anchors[name].info.depth + 1 for name in names)


def _stream(
    context: Context, bounds: Bounds, words: int, *names: str
) -> Iterator[tuple[Tensor, ...]]:
    val = context.val
    return streamed_logits(
        [(context.anchors[name], _translators(context, name)) for name in names],
        context.batches(val.images, val.rows, *names),
        bounds,
        words=words,
        precision=context.precision,
    )


def _translators(context: Context, name: str) -> Translators:
    arrays = context.read(Probes(anchor=name))
    layouts = context.anchors[name].info.layouts[:-1]
    made = Translators([layout.channels for layout in layouts])
    with torch.no_grad():
        for k, (weight, bias) in enumerate(zip(made.weight, made.bias)):
            weight.copy_(torch.from_numpy(arrays[f"cut{k}.weight"].copy()))
            bias.copy_(torch.from_numpy(arrays[f"cut{k}.bias"].copy()))
    return made.to(context.device)


def _length(context: Context) -> int:
    return next(iter(context.anchors.values())).info.transform.positions


def _reading_macs(context: Context, name: str) -> int:
    """Of all probes, beside the decoder's own pass, for one token."""
    info, costs = context.anchors[name].info, context.costs[name]
    each = costs.macs[-1] + info.layouts[-1].channels ** 2
    return info.depth * each


def training_cost(result: Probes, context: Context, speed: Speed) -> Cost:
    """Of :func:`train_probes`."""
    info, settings = context.anchors[result.anchor].info, context.study.probes
    whole = context.costs[result.anchor].total_macs
    passes = 1 + (1 + BACKWARD) * _reading_macs(context, result.anchor) / whole
    logits = LOGITS_AT_ONCE * info.classes
    states = image_bytes(info.layouts) // FLOAT_BYTES
    values = sum(layout.channels**2 for layout in info.layouts[:-1])
    return Cost(
        seconds=settings.steps
        * settings.batch
        * (speed.loading + passes * speed.forward[info.name]),
        values=values,
        memory_bytes=FLOAT_BYTES
        * (settings.batch * info.transform.positions * (logits + states) + 4 * values),
    )


def comparing_cost(result: Theta | ProbeAccuracy, context: Context, speed: Speed) -> Cost:
    """Of :func:`theta_sums` and :func:`probe_accuracies`."""
    seconds = 0.0
    for name in dict.fromkeys(result.names):
        passes = 1 + _reading_macs(context, name) / context.costs[name].total_macs
        seconds += context.val.samples * (speed.loading + passes * speed.forward[name])
    words = (
        context.words if isinstance(result, Theta) else context.anchors[result.anchor].info.classes
    )
    predictions = _predictions(context, *dict.fromkeys(result.names))
    logits = FLOAT_BYTES * positions_at_once(predictions, words) * predictions * words
    return Cost(seconds=seconds, memory_bytes=LOGITS_AT_ONCE * logits)
