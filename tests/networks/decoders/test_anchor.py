from copy import deepcopy

import pytest
import torch

from klas.errors import AnchorError
from klas.measures.least_squares import fit_stitch_layers
from klas.networks.anchor import TextInput, Transform, freeze
from klas.networks.cost import anchor_cost, count_macs, stitch_cost
from klas.networks.decoders.anchor import decoder_anchor
from klas.networks.decoders.layers import empty_cache
from klas.networks.family import Family
from klas.networks.operators import MacCounter
from tests.networks.decoders.decoders import CONFIGS, configured, decoder, texts

LENGTH = 12
TAKES = TextInput(tokenizer="0" * 64, length=LENGTH)
COUNTED = [family for family in CONFIGS if family not in ("mixtral", "mamba")]


def anchor_of(family, name=None):
    return decoder_anchor(decoder(family), name or family, transform=TAKES)


def frozen(network, name):
    anchor = decoder_anchor(deepcopy(network), name, transform=TAKES)
    return freeze(anchor, torch.device("cpu"))


@pytest.mark.parametrize("family", COUNTED)
@torch.no_grad()
def test_the_cost_per_token_is_that_of_the_whole_decoder(family):
    network, anchor = decoder(family), anchor_of(family)
    cost, counter = anchor_cost(anchor), MacCounter()
    with counter, torch.device("meta"):  # where attention is counted
        deepcopy(network).to("meta")(TAKES.example(), cache=empty_cache(network.config))
    assert cost.total_macs * LENGTH == counter.macs
    assert cost.total_params == sum(weight.numel() for weight in network.parameters())
    assert not cost.total.uncounted
    assert all(cost.macs[1:])


def test_what_a_stitch_costs_is_counted_on_itself():
    source, target = frozen(decoder("gpt2"), "f"), frozen(decoder("opt"), "g")
    family = Family.blank(source, target, [(3, 2)])
    stitch = family.stitch((3, 2))
    wanted = stitch_cost(source.info, anchor_cost(source), 3, target.info, anchor_cost(target), 2)
    assert count_macs(stitch, TAKES.example()).macs == wanted.macs * LENGTH
    assert sum(weight.numel() for weight in stitch.parameters()) == wanted.params


@torch.no_grad()
def test_least_squares_joins_two_halves_of_one_decoder_exactly():
    network = decoder("llama")
    source, target = frozen(network, "f"), frozen(network, "g")
    ids = texts(40, LENGTH)
    states = fit_stitch_layers(source, target, [(ids, ids, ids)], [(2, 2), (1, 3)])
    family = Family(source, target, states)
    wanted = network(ids, use_cache=False).logits
    torch.testing.assert_close(family.use((2, 2))(ids), wanted, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(family.use((1, 3))(ids), wanted, atol=1e-1)
    assert torch.equal(family.use((2, 2))(ids), family.stitch((2, 2))(ids))


def test_copies_of_a_family_train_apart():
    source, target = frozen(decoder("gpt2"), "f"), frozen(decoder("llama"), "g")
    family = Family.blank(source, target, [(2, 1)])
    copied = family.copy_of([(2, 1)])
    with torch.no_grad():
        for weight in copied.parameters():
            weight *= 1.1
        ids = texts(2, LENGTH)
        left = family.use("source")(ids)
        assert torch.equal(left, decoder("gpt2")(ids, use_cache=False).logits)
        assert not torch.equal(copied.use("source")(ids), left)


def test_a_trained_state_goes_into_a_fresh_copy():
    trained = decoder_anchor(configured(CONFIGS["gemma3"]), "a", transform=TAKES)
    fresh = decoder_anchor(configured(CONFIGS["gemma3"]), "a", transform=TAKES)
    ids = texts(2, LENGTH)
    with torch.no_grad():
        for weight in trained.parameters():
            weight *= 1.1
        fresh.load_state_dict(trained.state_dict())
        assert torch.equal(fresh(ids), trained(ids))


def test_what_is_made_for_images_refuses_texts_in_a_sentence():
    with pytest.raises(AnchorError, match="llama: takes texts"):
        _ = anchor_of("llama").info.images


def test_weights_in_half_precision_are_refused():
    network = configured(CONFIGS["llama"]).bfloat16()
    with pytest.raises(AnchorError, match="bfloat16"):
        decoder_anchor(network, "half", transform=TAKES)


def test_an_image_and_a_text_are_counted_as_they_are():
    image = Transform(
        input_size=(3, 8, 6), mean=(0.5,), std=(0.5,), crop=1.0, interpolation="bilinear"
    )
    assert (image.example().shape, image.positions) == ((1, 3, 8, 6), 1)
    assert (TAKES.example().shape, TAKES.positions) == ((1, LENGTH), LENGTH)
