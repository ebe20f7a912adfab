"""Anchors of weights from anywhere, and what loading them gives or refuses."""

import pytest
import timm
import torch

from klas.digits.zoo import ZOO
from klas.errors import AnchorError
from klas.networks.weights import load_model
from klas.study import AnchorSpec

TINY = ZOO[0]
TAG = "test_vit.r160_in1k"  # timm's own network for tests


def spec(file=None, model=TINY):
    return AnchorSpec(name="mine", model=model, weights=str(file) if file else None)


def state_of(model=TINY, **kwargs):
    torch.manual_seed(1)
    return timm.create_model(model, **kwargs).state_dict()


def assert_loaded(model, state):
    assert model.state_dict().keys() == state.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


def refusal(file, model=TINY):
    with pytest.raises(AnchorError) as caught:
        load_model(spec(file, model))
    assert "\n" not in str(caught.value)
    return str(caught.value)
