import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from klas.errors import DivergedError
from klas.measures import translators
from klas.measures.divergence import chunk_bounds, prediction_sums
from klas.measures.translators import (
    Translators,
    next_token_hits,
    positions_at_once,
    streamed_logits,
    train_translators,
)
from klas.networks.anchor import TextInput, freeze
from klas.networks.decoders.anchor import decoder_anchor
from klas.selection.bootstrap import block_of
from tests.networks.decoders.decoders import CONFIGS, WORDS, configured, texts

LENGTH = 10


def anchor_of(family):
    taken = TextInput(tokenizer="0" * 64, length=LENGTH)
    anchor = decoder_anchor(configured(CONFIGS[family]), family, transform=taken)
    return freeze(anchor, torch.device("cpu"))


def some_translators(anchor, seed):
    """As training would leave them, without training."""
    made = Translators([layout.channels for layout in anchor.info.layouts[:-1]])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in made.parameters():
            values.copy_(0.1 * torch.randn(values.shape, generator=generator))
    return made


def batches(samples, size, views):
    windows = texts(samples, LENGTH + 1)
    for part in windows.split(size):
        yield (*[part[:, :-1]] * views, part[:, 1:])


def all_logits(anchor, made, words=WORDS):
    """(n + 1, N · L, words) in float64, of everything at once."""
    with torch.no_grad():
        states = anchor.cut_activations(texts(9, LENGTH + 1)[:, :-1])
        logits = [anchor.head(made(hidden, cut)) for cut, hidden in enumerate(states)]
    return torch.stack(logits).flatten(1, 2)[..., :words].double()


def divergences(first, second):
    """(I, J, positions) by brute force."""
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    return (p[:, None].exp() * (p[:, None] - q[None])).sum(-1)


@pytest.mark.parametrize("words", [WORDS, WORDS - 5])
@pytest.mark.parametrize(("rows", "size"), [(1, 4), (7, 2), (64, 9)])
def test_theta_of_a_stream_is_that_of_everything_at_once(rows, size, words):
    """Of the common words alone, whatever the chunks and the batches are."""
    pair = [anchor_of("llama"), anchor_of("gpt2")]
    made = [some_translators(anchor, seed) for seed, anchor in enumerate(pair)]
    blocks = np.repeat(block_of(9), LENGTH)
    bounds = chunk_bounds(blocks, rows)
    stream = streamed_logits(list(zip(pair, made)), batches(9, size, 2), bounds, words=words)
    sums = prediction_sums(((p, q) for p, q, _ in stream), bounds)
    first, second = (all_logits(a, m, words) for a, m in zip(pair, made))
    wanted = divergences(first, second).unflatten(-1, (9, LENGTH)).sum(-1).permute(2, 0, 1)
    np.testing.assert_allclose(sums["kl"], wanted.numpy(), rtol=1e-4, atol=1e-9)
    entropy = -(first.softmax(-1) * first.log_softmax(-1)).sum(-1).unflatten(-1, (9, LENGTH))
    np.testing.assert_allclose(sums["entropy"], entropy.sum(-1).T.numpy(), rtol=1e-4)


def test_the_last_probe_is_the_decoder_itself():
    anchor = anchor_of("gemma3")
    bounds = chunk_bounds(np.repeat(block_of(9), LENGTH), 16)
    made = some_translators(anchor, 0)
    stream = streamed_logits([(anchor, made)], batches(9, 4, 1), bounds, words=WORDS)
    logits = torch.cat([few for few, _ in stream], 1)
    with torch.no_grad():
        wanted = anchor(texts(9, LENGTH + 1)[:, :-1]).flatten(0, 1)
    torch.testing.assert_close(logits[-1], wanted, rtol=1e-5, atol=1e-5)


def test_hits_are_counted_over_all_positions():
    anchor = anchor_of("llama")
    made = some_translators(anchor, 0)
    bounds = chunk_bounds(np.repeat(block_of(9), LENGTH), 16)
    stream = streamed_logits([(anchor, made)], batches(9, 4, 1), bounds, words=WORDS)
    following = texts(9, LENGTH + 1)[:, 1:].flatten()
    wanted = (all_logits(anchor, made).argmax(-1) == following).double().mean(1)
    np.testing.assert_allclose(next_token_hits(stream, 5), wanted.numpy())


def test_memory_does_not_grow_with_the_positions(monkeypatch):
    """No tensor of logits is ever larger than one chunk, for any number of texts."""
    monkeypatch.setattr(translators, "LOGITS_BYTES", 4 * 5 * WORDS * 6)
    rows = positions_at_once(5, WORDS)
    assert rows == 6
    anchor = anchor_of("llama")
    made = some_translators(anchor, 0)
    largest = []
    for samples in (4, 40):
        bounds = chunk_bounds(np.repeat(block_of(samples), LENGTH), rows)
        stream = streamed_logits([(anchor, made)], batches(samples, 4, 1), bounds, words=WORDS)
        largest.append(max(logits.numel() for logits, _ in stream))
    assert largest[0] == largest[1] == 5 * 6 * WORDS
    assert positions_at_once(10**6, 10**6) == 1


def training(samples=64, seed=5):
    """Texts in which a word follows from the one before."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(3, WORDS, (samples, 1), generator=generator)
    windows = (first + 7 * torch.arange(LENGTH + 1)) % WORDS

    def batches_from(step):
        while True:
            chosen = windows[torch.randperm(samples, generator=generator)[:8]]
            yield chosen[:, :-1], chosen[:, 1:]

    return batches_from


def test_training_makes_every_probe_but_the_last_better_and_leaves_the_anchor_alone():
    anchor = anchor_of("llama")
    before = {name: value.clone() for name, value in anchor.state_dict().items()}
    made, settled = train_translators(anchor, training(), steps=30, lr=1e-2, tick=lambda n: None)
    assert len(settled) == 5
    assert settled[-1]
    tokens, following = next(training(seed=9)(0))
    with torch.no_grad():
        for cut, hidden in enumerate(anchor.cut_activations(tokens)[:-1]):
            losses = [
                cross_entropy(anchor.head(state).flatten(0, 1), following.flatten())
                for state in (hidden, made(hidden, cut))
            ]
            assert losses[1] < losses[0], cut
    assert all(torch.equal(before[name], value) for name, value in anchor.state_dict().items())


class OneCut(nn.Module):
    """A head through which only every fourth call learns anything."""

    def __init__(self, head, cut):
        super().__init__()
        self.head, self.cut, self.calls = head, cut, 0

    def forward(self, hidden):
        self.calls += 1
        learns = (self.calls - 1) % 4 == self.cut
        return self.head(hidden if learns else hidden.detach() + 0 * hidden)


def test_each_probe_is_trained_as_if_it_were_alone():
    anchor = anchor_of("gpt2")
    together, _ = train_translators(anchor, training(), steps=3, lr=1e-2, tick=lambda n: None)
    head = anchor.head
    for cut in range(4):
        anchor.head = OneCut(head, cut)
        alone, _ = train_translators(anchor, training(), steps=3, lr=1e-2, tick=lambda n: None)
        assert torch.equal(alone.weight[cut], together.weight[cut]), cut
        assert not any(bool(alone.weight[other].any()) for other in range(4) if other != cut)


class BrokenAt(OneCut):
    """A head that gives no numbers at one cut."""

    def forward(self, hidden):
        self.calls += 1
        return self.head(hidden) * (torch.nan if (self.calls - 1) % 4 == self.cut else 1)


def test_a_loss_that_is_no_number_is_refused_with_its_cut():
    anchor = anchor_of("llama")
    anchor.head = BrokenAt(anchor.head, 2)
    with pytest.raises(DivergedError, match="llama: the probe at cut 2"):
        train_translators(anchor, training(), steps=4, lr=1e-2, tick=lambda n: None)
