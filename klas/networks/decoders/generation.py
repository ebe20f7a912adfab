"""Continue texts greedily: by a whole decoder, or by a stitched one, with a cache for each half.

The layers of a half are numbered anew, so that its cache begins with them: a cache of the whole
decoder would wait for layers that never run, or count the positions of one that doesn't.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from klas.networks.decoders.layers import config_of, empty_cache, numbered_from
from klas.networks.decoders.shell import Shell


def shell_of(part: nn.Module) -> Shell:
    """The decoder of which a part is the stem, a layer or the head."""
    shell = part.shell
    assert isinstance(shell, Shell)
    return shell


class Half:
    """Layers ``first`` + 1 … ``stop`` of a decoder, and their cache of a text."""

    def __init__(self, shell: Shell, first: int, stop: int, *, cached: bool) -> None:
        """Begin a text.

        Args:
            first, stop: cuts.
            cached: whether the layers may keep what they need of earlier tokens; else every token
                goes through them again for each that is new.
        """
        self._shell = shell
        self._places = slice(first, stop)
        self._layers = numbered_from(shell.layers, first)[: stop - first]
        self.cache = _cache(shell, first, stop) if cached else None

    def run(self, ids: Tensor, attention_mask: Tensor, hidden: Tensor | None) -> Tensor:
        """The hidden state behind the half, (N, L, C).

        Args:
            ids: (N, L) the new tokens; all of them without a cache.
            attention_mask: (N, tokens so far) 0 where there is padding.
            hidden: (N, L, C) the state before the half; None for what the decoder itself makes of
                the tokens.
        """
        # Padding has no place in the text; position 0 is as good as any for it.
        positions = (attention_mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        entered = self._shell.enter(ids, attention_mask, self.cache, position_ids=positions)
        state = entered.hidden if hidden is None else hidden
        for call, layer in zip(entered.calls[self._places], self._layers):
            state = call.run(layer, state)
        return state


def _cache(shell: Shell, first: int, stop: int) -> Any:
    """An empty cache for some layers; None where one of them has a state instead of attention.

    What such a layer is to be given once it has a state differs from architecture to architecture.
    """
    cache = empty_cache(config_of(shell.network.config, first, stop))
    return None if any(cache.is_linear) else cache


class Continuation:
    """A decoder, or two of which one goes on from the other's hidden state, in a text.

    Attributes:
        cached: whether it keeps what it needs of earlier tokens, so that it takes new ones alone.
    """

    def __init__(
        self,
        shells: Sequence[Shell],
        place: tuple[int, int] | None = None,
        layer: nn.Module | None = None,
        *,
        cached: bool = True,
    ) -> None:
        """Begin texts.

        Args:
            shells: of one decoder, or of a stitch's source and target.
            place: (i, j) of a stitch.
            layer: the stitch's.
            cached: whether both may keep what they need of earlier tokens.
        """
        self._shells, self._target = tuple(shells), shells[-1]
        # One of two may have more words, as padding, which the other would not know as input.
        self._words = min(shell.words for shell in shells)
        depth = len(self._target.layers)
        self._layer = layer
        if place is None:
            self._halves = [Half(self._target, 0, depth, cached=cached)]
        else:
            i, j = place
            front = Half(shells[0], 0, i, cached=cached)
            self._halves = [front, Half(self._target, j, depth, cached=cached)]
        self.cached = all(half.cache is not None for half in self._halves)
        if not self.cached:
            for half in self._halves:
                half.cache = None

    def room(self, tokens: int) -> int | None:
        """How long a prompt may be that so many tokens follow; None where there is no limit."""
        most = [shell.longest for shell in self._shells if shell.longest is not None]
        return max(1, min(most) - tokens) if most else None

    def logits(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(N, words) of the next token, of the words that all of its decoders take.

        Args:
            ids: (N, L) the new tokens; all of them without a cache.
            attention_mask: (N, tokens so far).
        """
        hidden = self._halves[0].run(ids, attention_mask, None)
        if self._layer is not None:
            hidden = self._halves[1].run(ids, attention_mask, self._layer(hidden))
        return self._target.leave(hidden[:, -1:])[:, -1, : self._words]


@torch.inference_mode()
def greedy(
    continuation: Continuation,
    prompts: Tensor,
    attention_mask: Tensor,
    *,
    tokens: int,
    ends: Collection[int] = (),
) -> Tensor:
    """(N, ≤ tokens) the likeliest next token, again and again.

    Args:
        continuation: of texts that begin here.
        prompts: (N, L) padded on the left.
        attention_mask: (N, L) 0 where there is padding.
        tokens: how many at most.
        ends: tokens that end a text; what follows one is that token again.
    """
    ids, mask, new = prompts, attention_mask, prompts
    made: list[Tensor] = []
    over = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    stops = torch.tensor(sorted(ends), dtype=torch.long, device=prompts.device)
    while len(made) < tokens and not bool(over.all()):
        following = continuation.logits(new, mask).argmax(-1)
        if made:
            following = torch.where(over, made[-1], following)
        made.append(following)
        over = over | torch.isin(following, stops)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        ids = torch.cat([ids, following[:, None]], 1)
        new = following[:, None] if continuation.cached else ids
    return torch.stack(made, 1) if made else prompts[:, :0]
