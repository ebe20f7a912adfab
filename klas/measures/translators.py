"""Probes of decoders: what their own unembedding reads from a hidden state, translated for it.

A probe of as many words as a decoder has would be as large as its unembedding, at every cut. So
probe k is the decoder's own head, frozen, over an affine translator: head(h + A h + b), trained on
the next token (Belrose et al., 2023, arXiv 2303.08112, who train it on the decoder's own output).
Behind the last layer there is nothing to translate: that probe is the decoder itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from klas.errors import DivergedError
from klas.measures.divergence import Bounds
from klas.measures.schedule import one_cycle
from klas.measures.sweep import Tick
from klas.networks.anchor import Anchor
from klas.networks.batch_size import enough_memory_for
from klas.networks.device import Precision, autocast

LOGITS_BYTES = 2**28  # of all probes' logits for the positions that are worked on together
LARGEST_CHUNK = 64  # positions; more make no matrix product faster
SETTLED = 0.01  # by how much of itself a loss may still fall in the last tenth of the steps

BatchesFrom = Callable[[int], Iterator[tuple[Tensor, ...]]]
"""From a first step to its batch and all that follow: tokens (n, L) and the next ones (n, L)."""


class Translators(nn.Module):
    """The translators of cuts 0 … n − 1 of an anchor; they change nothing until they are trained.

    Attributes:
        weight: (C, C) of each cut, A.
        bias: (C,) of each cut, b.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        """Begin with h + 0 h + 0.

        Args:
            channels: C of each cut but the last.
        """
        super().__init__()
        self.weight = nn.ParameterList(torch.zeros(c, c) for c in channels)
        self.bias = nn.ParameterList(torch.zeros(c) for c in channels)

    def forward(self, hidden: Tensor, cut: int) -> Tensor:
        """What the head is given, (…, C), for a hidden state (…, C) at a cut."""
        if cut == len(self.weight):
            return hidden
        return hidden + torch.nn.functional.linear(hidden, self.weight[cut], self.bias[cut])


def train_translators(
    anchor: Anchor,
    batches_from: BatchesFrom,
    *,
    steps: int,
    lr: float,
    tick: Tick,
    precision: Precision = "float32",
) -> tuple[Translators, list[bool]]:
    """Train the probes of all cuts on the same batches, by AdamW; the anchor stays as it is.

    The anchor runs once per step for all of them, up to its last layer. Their losses share no
    parameter, so each is trained exactly as if it were alone, one after another in memory.

    Args:
        anchor: a decoder in eval mode.
        batches_from: the training texts.
        steps: how many.
        lr: the peak learning rate.
        tick: called with 1 after every step.
        precision: of the forward passes.

    Returns:
        The translators, and for each cut 0 … n whether its loss has settled; that of cut n has no
        translator.

    Raises:
        DivergedError: a loss is no longer a number.
    """
    device = next(anchor.parameters()).device
    channels = [layout.channels for layout in anchor.info.layouts[:-1]]
    translators = Translators(channels).to(device)
    optimizer = torch.optim.AdamW(translators.parameters(), lr=lr, weight_decay=0.0)
    losses = torch.zeros(steps, len(channels), device=device)
    for step, (tokens, following, *_) in zip(range(steps), batches_from(0)):
        for group in optimizer.param_groups:
            group["lr"] = lr * one_cycle(step, steps)
        optimizer.zero_grad()
        for cut, hidden in enumerate(_states(anchor, tokens, precision)):
            if cut < len(channels):
                with autocast(tokens.device, precision):
                    logits = anchor.head(translators(hidden, cut))
                loss = cross_entropy(logits.float().flatten(0, 1), following.flatten())
                loss.backward()
                losses[step, cut] = loss.detach()
        optimizer.step()
        tick(1)
    if not bool(torch.isfinite(losses).all()):
        cut = int((~torch.isfinite(losses)).any(0).nonzero()[0])
        raise DivergedError(
            f"{anchor.info.name}: the probe at cut {cut} has a loss that is no number; lower "
            "[probes] lr"
        )
    return translators, [*_settled(losses), True]


def _states(anchor: Anchor, tokens: Tensor, precision: Precision) -> list[Tensor]:
    """The hidden states (n, L, C) at cuts 0 … n, without gradients."""
    with torch.no_grad(), autocast(tokens.device, precision):
        return anchor.cut_activations(tokens)


def _settled(losses: Tensor) -> list[bool]:
    """(cuts,) whether the last tenth of the losses (steps, cuts) is hardly below the one before."""
    tenth = max(1, len(losses) // 10)
    last = losses[-tenth:].mean(0)
    before = losses[-2 * tenth : -tenth].mean(0) if len(losses) > 1 else last + 1
    return [bool(b - a < SETTLED * b) for a, b in zip(last, before)]


def positions_at_once(predictions: int, words: int) -> int:
    """How many positions make a chunk, so that memory depends on none of these numbers.

    Args:
        predictions: how many probes are compared.
        words: of the vocabulary.

    Examples:
        Of decoders with 16 and 28 layers, each with a probe more, and of small ones:

        >>> positions_at_once(17 + 29, 128_256), positions_at_once(5 + 7, 512)
        (11, 64)
    """
    return max(1, min(LARGEST_CHUNK, LOGITS_BYTES // (4 * predictions * words)))


@torch.inference_mode()
def streamed_logits(
    anchors: Sequence[tuple[Anchor, Translators]],
    batches: Iterable[tuple[Tensor, ...]],
    bounds: Bounds,
    *,
    words: int,
    precision: Precision = "float32",
) -> Iterator[tuple[Tensor, ...]]:
    """Every probe's logits at every position of some texts, a chunk of positions at a time.

    Hidden states exist for one batch, logits for one chunk; nothing is kept.

    Args:
        anchors: one decoder or several of one tokenizer, with their translators.
        batches: tokens (n, L) as each of them sees them, then the next ones (n, L).
        bounds: of :func:`klas.measures.divergence.chunk_bounds`, over the positions of all texts.
        words: how many of each decoder's words count, the first ones: what is beyond them is
            padding.
        precision: of the forward passes.

    Yields:
        For each of ``bounds`` the logits (n_k + 1, positions, words) of each decoder, and the next
        tokens (positions,).

    Raises:
        KlasError: not even one position's logits fit in memory.
    """
    chunks = iter(bounds)
    waiting: list[list[Tensor]] = []  # what a chunk that reaches into the next batch has so far
    begin, seen = next(chunks, None), 0
    for *views, following in batches:
        states = [
            [hidden.flatten(0, 1) for hidden in _states(anchor, view, precision)]
            for (anchor, _), view in zip(anchors, views)
        ]
        targets, first = following.flatten(), seen
        seen += len(targets)
        while begin is not None and begin[0] < seen:
            start, stop, _ = begin
            here = slice(max(start - first, 0), min(stop, seen) - first)
            piece = [
                _probe_logits(anchor, translators, [h[here] for h in hidden], words, precision)
                for (anchor, translators), hidden in zip(anchors, states)
            ]
            waiting.append([*piece, targets[here]])
            if stop > seen:
                break
            *logits, next_tokens = zip(*waiting)
            yield (*(torch.cat(parts, 1) for parts in logits), torch.cat(next_tokens))
            waiting, begin = [], next(chunks, None)


def _probe_logits(
    anchor: Anchor,
    translators: Translators,
    states: Sequence[Tensor],
    words: int,
    precision: Precision,
) -> Tensor:
    """(n + 1, positions, words) of hidden states (positions, C) at cuts 0 … n, float32."""
    positions = len(states[0])
    with (
        enough_memory_for(f"the predictions of {words:,} words at {positions} positions"),
        autocast(states[0].device, precision),
    ):
        made = states[0].new_empty(len(states), positions, words, dtype=torch.float32)
        for cut, hidden in enumerate(states):
            # Each as a text of its own: what follows the layers takes every position alone.
            made[cut] = anchor.head(translators(hidden, cut)[:, None])[:, 0, :words]
    return made


def next_token_hits(batches: Iterable[tuple[Tensor, ...]], cuts: int) -> NDArray[np.float64]:
    """(cuts,) the share of positions at which each probe's likeliest word is the next one.

    Args:
        batches: of :func:`streamed_logits` for one decoder.
        cuts: n + 1.
    """
    right, count = torch.zeros(cuts, dtype=torch.int64), 0
    for logits, following in batches:
        right += (logits.argmax(-1) == following).sum(1).cpu()
        count += len(following)
    share: NDArray[np.float64] = right.numpy() / count
    return share
