"""A family's members against the networks that they are, to the bit."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from klas.digits.zoo import ZOO
from klas.measures.normalisation import calibrate, has_statistics
from klas.networks.family import Family, layer_states
from klas.networks.load import load_anchor
from klas.networks.stitch import StitchLayer
from klas.results.result import OUTCOMES
from klas.selection.space import name_of
from klas.storage.key import Key
from klas.study import AnchorSpec

PLACES = [(1, 1), (2, 1), (2, 3), (3, 2)]  # tokens to maps of both grids
MEMBERS = ["source", "target", *PLACES]


def load(name):
    return load_anchor(AnchorSpec(name=name, model=name), crop=1.0, interpolation="bilinear")


@pytest.fixture(scope="module")
def anchors():
    """Who changes them takes copies."""
    tiny, _, convnet, _ = ZOO
    return load(tiny), load(convnet)


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(1)
    return torch.randn(6, 1, 16, 16)


def states(source, target, places=PLACES):
    torch.manual_seed(2)
    layers = {
        (i, j): StitchLayer(source.info.layouts[i], target.info.layouts[j]) for i, j in places
    }
    for layer in layers.values():
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return {place: layer.state_dict() for place, layer in layers.items()}


@pytest.fixture
def family(anchors):
    source, target = map(deepcopy, anchors)
    return Family(source, target, states(source, target))


def with_statistics(family):
    """With statistics for every stitch that are nobody else's."""
    for k, place in enumerate(family.places):
        family.statistics[place] = {
            name: value + k + 1 if value.is_floating_point() else value + 0
            for name, value in family.network(place).named_buffers()
            if "running" in name
        }
        assert family.statistics[place]
    return family


@torch.inference_mode()
def outputs(family, images):
    return {member: family.use(member)(images) for member in MEMBERS}


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("member", MEMBERS, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_a_member_run_through_the_family_is_the_network_of_its_own(
    family, images, member, training
):
    twin = deepcopy(family).train(training).network(member)
    family.train(training)
    assert torch.equal(family.use(member)(images), twin(images))
    assert family.network(member).training == training


@torch.inference_mode()
def test_a_stitch_is_the_sources_blocks_the_layer_and_the_targets_rest(family, images):
    for i, j in PLACES:
        activation = family.source.cut_activations(images)[i]
        moved = family.layer((i, j))(activation)
        assert torch.equal(family.use((i, j))(images), family.target.resume(moved, j))
        # Nothing of the source's later blocks is run.
        assert len(family.source.cut_activations(images, upto=i)) == i + 1


@torch.inference_mode()
def test_the_anchors_are_members_as_they_are(family, anchors, images):
    source, target = anchors
    assert torch.equal(family.use("source")(images), source(images))
    assert torch.equal(family.use("target")(images), target(images))


def test_a_network_shares_its_parts_with_the_family(family, images):
    stitch, place = family.network(PLACES[0]), PLACES[0]
    with torch.inference_mode():
        before = stitch(images)
        family.layer(place).bias.add_(1.0)
        after = family.use(place)(images)
        assert torch.equal(stitch(images), after)
    assert not torch.equal(before, after)


def test_a_backward_pass_reaches_what_the_member_runs_and_nothing_else(family, images):
    family.use((2, 3))(images).sum().backward()
    assert all(p.grad is not None for p in family.layer((2, 3)).parameters())
    assert all(p.grad is None for p in family.layer((1, 1)).parameters())
    assert all(p.grad is None for p in family.source.blocks[2].parameters())
    assert all(p.grad is None for p in family.target.blocks[:3].parameters())
    assert any(p.grad is not None for p in family.target.blocks[3].parameters())


def test_a_member_brings_statistics_of_its_own_whoever_ran_before(family, images):
    with_statistics(family)
    alone = {}
    for place in PLACES:
        network = deepcopy(family).network(place)
        network.load_state_dict(family.statistics[place], strict=False)
        with torch.inference_mode():
            alone[place] = network(images)
    plain = deepcopy(family)
    plain.statistics.clear()
    with torch.inference_mode():
        for before in PLACES:
            for place in PLACES:
                family.use(before)(images)
                assert torch.equal(family.use(place)(images), alone[place])
        # The statistics differ from the shared ones, so mixing them up would show.
        assert not any(torch.equal(plain.use(place)(images), alone[place]) for place in PLACES)


def test_an_anchor_is_itself_again_after_a_stitch_with_statistics(family, images):
    before = {role: family.use(role)(images) for role in family.anchors}
    with_statistics(family)
    for place in PLACES:
        family.use(place)(images)
        for role, outputs in before.items():
            assert torch.equal(family.use(role)(images), outputs)


def test_members_without_statistics_of_their_own_leave_the_shared_ones_alone(family, images):
    before = deepcopy(family.state_dict())
    outputs(family, images)
    assert same(family.state_dict(), before)


def test_calibrating_gives_every_stitch_statistics_and_use_brings_them(family, images):
    assert has_statistics(family.target)
    calibrate(family, lambda viewer: [(images,), (images.flip(0) + 1,)])
    assert set(family.statistics) == set(PLACES)
    with torch.inference_mode():
        once = {place: family.use(place)(images) for place in PLACES}
        again = {place: family.use(place)(images) for place in reversed(PLACES)}
    assert all(torch.equal(once[place], again[place]) for place in PLACES)


@pytest.fixture(params=["arrays", "tensors", "stored"])
def kept(request, store):
    """As the store has arrays, as a weights file has tensors, and read back from a store."""

    def keep(arrays):
        assert all(isinstance(values, np.ndarray) for values in arrays.values())
        if request.param == "tensors":
            return {name: torch.from_numpy(values.copy()) for name, values in arrays.items()}
        if request.param == "stored":
            key = Key(stage="finetuned", version=1, inputs={})
            store.put(key, arrays)
            return store.get(key)
        return arrays

    return keep


def test_a_tier_with_frozen_anchors_is_read_back_as_it_was(family, images, kept):
    arrays = kept(family.to_arrays(anchors=False))
    again = Family.from_arrays(family.source, family.target, arrays, PLACES)
    assert again.places == tuple(PLACES)
    assert (again.source.info, again.target.info) == (family.source.info, family.target.info)
    own, given = (list(anchor.parameters()) for anchor in (again.target, family.target))
    assert all(a is b for a, b in zip(own, given, strict=True))
    assert same(outputs(again, images), outputs(family, images))


def test_a_joint_training_is_read_back_with_anchors_and_statistics_of_its_own(
    family, anchors, images, kept
):
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.01)
    with_statistics(family)
    arrays = kept(family.to_arrays(anchors=True))
    source, target = map(deepcopy, anchors)
    pretrained = [deepcopy(anchor.state_dict()) for anchor in (source, target)]
    again = Family.from_arrays(source, target, arrays, PLACES)
    assert {p: set(s) for p, s in again.statistics.items()} == {
        p: set(s) for p, s in family.statistics.items()
    }
    assert same(outputs(again, images), outputs(family, images))
    # They are copies: the pretrained anchors stay what every other result was measured on.
    assert again.source is not source
    assert again.target is not target
    assert again.source.info == source.info
    assert same(source.state_dict(), pretrained[0])
    assert same(target.state_dict(), pretrained[1])
    assert not same(again.source.state_dict(), pretrained[0])


def test_what_is_read_back_may_be_trained_and_the_arrays_stay(family, store):
    key = Key(stage="tuned", version=1, inputs={})
    store.put(key, family.to_arrays(anchors=False))
    arrays = store.get(key)
    before = {name: values.copy() for name, values in arrays.items()}
    again = Family.from_arrays(family.source, family.target, arrays, PLACES)
    with torch.no_grad():
        for layer in again.layers.values():
            layer.weight.add_(1.0)
    assert all(np.array_equal(arrays[name], values) for name, values in before.items())


def test_some_of_the_stitches_are_read_back_in_the_order_that_is_asked_for(family, images):
    arrays = with_statistics(family).to_arrays(anchors=False)
    some = [PLACES[2], PLACES[0]]
    again = Family.from_arrays(family.source, family.target, arrays, some)
    assert again.places == tuple(some)
    assert set(again.statistics) == set(some)
    assert list(again.layers) == [name_of(place) for place in some]
    assert Family.from_arrays(family.source, family.target, arrays, []).places == ()


def test_what_a_tier_says_of_samples_is_no_layer(family):
    arrays = family.to_arrays(anchors=True)
    measured = {f"{name_of(p)}.{OUTCOMES}": np.zeros(3, np.uint8) for p in PLACES}
    layers = layer_states(arrays | measured)
    assert list(layers) == PLACES
    assert all(set(state) == set(family.layer(p).state_dict()) for p, state in layers.items())


def test_a_blank_family_has_layers_without_values(family):
    blank = Family.blank(family.source, family.target, PLACES)
    assert blank.places == tuple(PLACES)
    for place in PLACES:
        assert not any(value.any() for value in blank.layer(place).state_dict().values())
        blank.layer(place).load_state_dict(family.layer(place).state_dict())


def test_names_of_members(family):
    assert family.names == ("digits_vit_tiny", "digits_convnet")
    assert [family.title(member) for member in ("source", "target", (2, 3))] == [
        *family.names,
        "2-3",
    ]
    assert [family.viewer(member) for member in ("source", "target", (2, 3))] == [
        "digits_vit_tiny",
        "digits_convnet",
        "digits_vit_tiny",
    ]


def test_a_stitch_sees_what_its_source_sees(family):
    views = torch.zeros(1), torch.ones(1)
    assert [int(family.view(m, *views)) for m in ("source", "target", (2, 3))] == [0, 1, 0]
    # Two ways to say the same.
    for member in MEMBERS:
        seen = family.view(member, *views)
        assert family.viewer(member) == family.names[int(seen)]


def test_a_source_without_a_head_is_no_member(family):
    assert family.anchors == ("source", "target")
    family.source.info = replace(family.source.info, classes=0)
    assert family.anchors == ("target",)


def test_a_family_has_the_mode_of_its_anchors(anchors):
    source, target = map(deepcopy, anchors)
    assert not Family(source, target, states(source, target)).training
    family = Family(source.train(), target.train(), states(source, target))
    assert all(module.training for module in family.modules())
    assert not any(module.training for module in family.eval().network(PLACES[0]).modules())


def test_the_first_member_is_a_stitch_if_there_is_one(anchors):
    source, target = anchors
    assert Family(source, target, states(source, target)).member == PLACES[0]
    assert Family(source, target, {}).member == "target"
