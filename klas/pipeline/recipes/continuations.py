"""ROUGE of a pair: how near its decoders' continuations of prompts come to the references."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from klas.data import Windows
from klas.errors import DataError
from klas.measures.continuations import rouge_scores
from klas.measures.sweep import Tick
from klas.networks.decoders.generation import Continuation, greedy, shell_of
from klas.networks.device import autocast
from klas.networks.family import Family, Member, layer_states
from klas.pipeline.context import Context
from klas.pipeline.recipes.finetuned import macs_per_second
from klas.pipeline.recipes.recipe import Cost, Recipe, undivided
from klas.pipeline.speed import Speed
from klas.results.result import Continuations
from klas.storage.arrays import Arrays

PROMPTS = 200  # of the validation texts, in a seeded order; a token is a pass for all of them
SPARE = 8  # tokens that a continuation may have beyond the longest reference
BATCH = 50


def _measure(result: Continuations, context: Context, tick: Tick) -> Arrays:
    """(N, 3) ROUGE-1, 2 and L of every prompt, by ``"i-j"`` or the anchor's name."""
    prompts, references = _prompts(context)
    layers = context.layers(result.layers)
    known = layer_states(layers)  # not what dropped out of a race
    family = context.family(result.names, layers, [p for p in result.stitches if p in known])
    tokenizer = context.splits.tokenizer
    most = SPARE + max(len(tokenizer.tokens(text)) for text in references)
    scores: Arrays = {}
    for member in [*family.anchors, *family.places]:
        made: list[str] = []
        for start in range(0, len(prompts), BATCH):
            few = prompts[start : start + BATCH]
            made += _continued(family, member, few, most, context)
            tick(len(few))
        scores[family.title(member)] = rouge_scores(made, references)
    return scores


def _continued(
    family: Family, member: Member, prompts: Sequence[str], most: int, context: Context
) -> list[str]:
    tokenizer = context.splits.tokenizer
    shells = [shell_of(family.source.stem), shell_of(family.target.head)]
    if isinstance(member, tuple):
        continuation = Continuation(shells, member, family.layer(member))
    else:
        continuation = Continuation([shells[member == "target"]])
    ids, mask = _padded([tokenizer.tokens(text) for text in prompts], continuation.room(most))
    ends = () if tokenizer.end is None else (tokenizer.end,)
    with autocast(context.device, context.precision):
        made = greedy(
            continuation, ids.to(context.device), mask.to(context.device), tokens=most, ends=ends
        )
    return [tokenizer.text(row) for row in made.tolist()]


def _padded(texts: Sequence[Sequence[int]], most: int | None) -> tuple[Tensor, Tensor]:
    """Tokens (N, L), and where there are any; texts end together, and lose their beginnings."""
    kept = [text if most is None else text[-most:] for text in texts]
    longest = max(map(len, kept))
    ids, mask = (torch.zeros(len(kept), longest, dtype=torch.long) for _ in range(2))
    for row, text in enumerate(kept):
        ids[row, longest - len(text) :] = torch.tensor(text)
        mask[row, longest - len(text) :] = 1
    return ids, mask


def _prompts(context: Context) -> tuple[list[str], list[str]]:
    """Some prompts of the validation texts, and their references."""
    val = context.val
    assert isinstance(val.images, Windows)
    every = val.images.prompts
    if not every:
        raise DataError(
            f"{val.identity['ref']}: has no references to compare continuations with; give lines "
            'of {"prompt": …, "reference": …}'
        )
    order = np.random.default_rng(context.study.seed).permutation(len(every))[:PROMPTS]
    prompts, references = zip(*(every[row] for row in order.tolist()))
    return list(prompts), list(references)


def _texts(result: Continuations, context: Context) -> int:
    return (len(result.stitches) + len(result.names)) * len(_prompts(context)[0])


def _cost(result: Continuations, context: Context, speed: Speed) -> Cost:
    """As of passes over prompts and continuations, each of about a sample's length."""
    macs = [context.costs[name].total_macs for name in result.names]
    macs += [
        context.stitch_cost(result.source, i, result.target, j).macs for i, j in result.stitches
    ]
    each = sum(macs) / macs_per_second(result.names, context, speed)
    return Cost(seconds=2 * len(_prompts(context)[0]) * each)


CONTINUATIONS = Recipe[Continuations](units=_texts, shares=undivided(_measure), cost=_cost)
