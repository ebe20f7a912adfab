from copy import deepcopy

import pytest
import torch
import transformers
from torch import nn

from klas.errors import AnchorError
from klas.networks.decoders.split import split_decoder
from tests.networks.decoders.decoders import (
    CONFIGS,
    REFUSED,
    configured,
    decoder,
    padded_on_the_left,
    texts,
)


def chained(parts, ids):
    hidden = parts.stem(ids)
    for block in parts.blocks:
        hidden = block(hidden)
    return parts.head(hidden)


def whole(network, ids, **options):
    # A cache lays keys out in another order in memory, which rounds differently.
    return network(ids, use_cache=False, **options).logits


@pytest.mark.parametrize("family", CONFIGS)
@torch.no_grad()
def test_the_parts_give_the_logits_to_the_last_bit(family):
    network, ids = decoder(family), texts()
    parts = split_decoder(network, family)
    assert len(parts.blocks) == len(parts.layouts) - 1 == 4
    assert torch.equal(chained(parts, ids), whole(network, ids))
    assert torch.equal(chained(parts, ids[:1, :5]), whole(network, ids[:1, :5]))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3", "gpt2", "opt", "neox"])
@torch.no_grad()
def test_with_padding_on_the_left_too(family, attention):
    network, ids = deepcopy(decoder(family)), texts()
    network.set_attn_implementation(attention)
    shell, mask = split_decoder(network, family).stem.shell, padded_on_the_left(ids)
    entered = shell.enter(ids, mask)
    hidden = entered.hidden
    for call, layer in zip(entered.calls, shell.layers):
        hidden = call.run(layer, hidden)
    assert torch.equal(shell.leave(hidden), whole(network, ids, attention_mask=mask))


@pytest.mark.parametrize("family", CONFIGS)
@torch.no_grad()
def test_from_any_cut_on_the_rest_equals_the_whole(family):
    """Each part makes its masks and tables itself, whatever ran before it."""
    network, ids = decoder(family), texts()
    parts = split_decoder(network, family)
    states = [parts.stem(ids)]
    for block in parts.blocks:
        states.append(block(states[-1]))
    for cut in range(4):
        parts = split_decoder(network, family)
        hidden = states[cut]
        for block in parts.blocks[cut:]:
            hidden = block(hidden)
        assert torch.equal(parts.head(hidden), whole(network, ids)), cut


def test_every_weight_is_in_a_part_and_a_shared_one_in_two():
    for family in CONFIGS:
        network = decoder(family)
        parts = split_decoder(network, family)
        kept = {p for part in (parts.stem, *parts.blocks, parts.head) for p in part.parameters()}
        assert kept == set(network.parameters()), family
    parts = split_decoder(decoder("gpt2"), "tied")
    assert {*parts.stem.parameters()} & {*parts.head.parameters()}
    parts = split_decoder(decoder("llama"), "untied")
    assert not {*parts.stem.parameters()} & {*parts.head.parameters()}


def test_a_copy_of_the_parts_is_independent():
    network, ids = configured(CONFIGS["gemma3"]), texts()
    parts = nn.ModuleList([p := split_decoder(network, "gemma3").stem])
    copied = deepcopy(parts)
    with torch.no_grad():
        before = p(ids)
        copied[0].model.embed_tokens.weight.zero_()
        assert torch.equal(p(ids), before)
        assert not torch.equal(copied[0](ids), before)


def test_they_train_after_an_evaluation_without_gradients():
    network, ids = configured(CONFIGS["gpt2"]), texts()
    parts = split_decoder(network, "gpt2")
    with torch.inference_mode():
        chained(parts, ids)
    for _ in range(2):
        chained(parts, ids).logsumexp(-1).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_cut_is_refused_with_the_reason(reason):
    with pytest.raises(AnchorError, match=reason) as refusal:
        split_decoder(configured(REFUSED[reason]), "odd")
    assert str(refusal.value).startswith("odd: ")
    assert len(str(refusal.value).splitlines()) == 1


def _llama():
    network = configured(CONFIGS["llama"])
    return network, network.model.layers


class _State(dict):
    """As networks pass keys and values of earlier layers on."""


def _something_between():
    network, layers = _llama()
    layers[1].register_forward_pre_hook(lambda layer, args: (args[0] * 2, *args[1:]))
    return network


class _PassesAState(transformers.LlamaModel):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs, shared=_State(a=1))


def _a_state():
    network, _ = _llama()
    network.model.__class__ = _PassesAState
    return network


def _replaced_code():
    network, _ = _llama()
    network.model.forward = network.model.forward  # as some libraries wrap a module
    return network


def _one_layer():
    network, layers = _llama()
    network.config.num_hidden_layers = 1
    del layers[1:]
    return network


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_something_between, "something runs between its layers"),
        (_a_state, r"a state \(_State\) passes from layer to layer"),
        (_replaced_code, "its own code has been replaced"),
        (_one_layer, "it has no list of layers"),
    ],
)
def test_every_other_obstacle_has_a_sentence(make, reason):
    with pytest.raises(AnchorError, match=reason):
        split_decoder(make(), "odd")


def test_the_network_is_left_as_it_was():
    network = configured(CONFIGS["llama"]).train()
    for weight in list(network.parameters())[::2]:
        weight.requires_grad_(False)
    before = [weight.requires_grad for weight in network.parameters()]
    split_decoder(network, "llama")
    assert network.training
    assert [weight.requires_grad for weight in network.parameters()] == before
    assert not any(module._forward_hooks for module in network.modules())
    assert isinstance(network, transformers.LlamaForCausalLM)
