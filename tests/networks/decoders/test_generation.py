import pytest
import torch
from torch import nn

from klas.networks.decoders.generation import Continuation, greedy
from klas.networks.decoders.split import split_decoder
from tests.networks.decoders.decoders import CONFIGS, decoder, padded_on_the_left, texts

TOKENS = 9


def shell_of(family):
    return split_decoder(decoder(family), family).stem.shell


def layer(seed=0):
    torch.manual_seed(seed)
    linear = nn.Linear(32, 32)
    nn.init.normal_(linear.weight, std=0.3)
    return linear


@pytest.mark.parametrize("family", CONFIGS)
def test_a_whole_decoder_goes_on_as_transformers_would(family):
    ids = texts()
    mask = padded_on_the_left(ids)
    wanted = decoder(family).generate(
        ids,
        attention_mask=mask,
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )[:, ids.shape[1] :]
    for cached in (True, False):
        begun = Continuation([shell_of(family)], cached=cached)
        assert torch.equal(greedy(begun, ids, mask, tokens=TOKENS), wanted)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("place", [(1, 1), (2, 1), (1, 3), (4, 2)])
def test_a_stitch_gives_the_same_tokens_with_and_without_a_cache(family, place):
    ids, shell, joint = texts(), shell_of(family), layer()
    made = [
        greedy(
            Continuation([shell, shell], place, joint, cached=cached),
            ids,
            padded_on_the_left(ids),
            tokens=TOKENS,
        )
        for cached in (True, False)
    ]
    assert torch.equal(*made)
    assert len({tuple(row) for row in made[0].tolist()}) == len(ids)


def test_two_families_share_a_text_each_with_a_cache_of_its_own():
    ids, joint = texts(), layer()
    mask = padded_on_the_left(ids)
    shells = [shell_of("gemma3"), shell_of("gpt2")]
    made = [
        greedy(Continuation(shells, (3, 1), joint, cached=cached), ids, mask, tokens=TOKENS)
        for cached in (True, False)
    ]
    assert torch.equal(*made)


def test_a_half_that_is_the_whole_equals_it():
    ids, shell = texts(), shell_of("llama")
    mask = padded_on_the_left(ids)
    whole = greedy(Continuation([shell]), ids, mask, tokens=TOKENS)
    halves = Continuation([shell, shell], (2, 2), nn.Identity())
    assert torch.equal(greedy(halves, ids, mask, tokens=TOKENS), whole)


def test_a_text_ends_where_an_end_comes():
    ids, shell = texts(), shell_of("llama")
    mask = torch.ones_like(ids)
    whole = greedy(Continuation([shell]), ids, mask, tokens=TOKENS)
    end = int(whole[0, 2])
    made = greedy(Continuation([shell]), ids, mask, tokens=TOKENS, ends=[end])
    first = whole[0].tolist().index(end)
    assert made[0, :first].tolist() == whole[0, :first].tolist()
    assert set(made[0, first:].tolist()) == {end}
    every = {int(token) for token in whole[:, 0]}
    assert greedy(Continuation([shell]), ids, mask, tokens=TOKENS, ends=every).shape == (3, 1)
