import pytest
import torch
from torch import nn

from klas.errors import AnchorError
from klas.networks.accepted import refuse_wrapped
from klas.networks.factory import build
from klas.study import AnchorSpec
from tests.networks.nets import Plain, anchor


def changed(change):
    model = Plain()
    change(model)
    return model


def parallel_inside(model):
    model.first = nn.DataParallel(model.first)


def half_norm(model):
    model.norm.half()


WRAPPED = {
    "parallel": (lambda: nn.DataParallel(Plain()), "it is a DataParallel; pass its .module"),
    "parallel within": (
        lambda: changed(parallel_inside),
        "its 'first' is a DataParallel; pass its .module",
    ),
    "compiled": (
        lambda: torch.compile(Plain()),
        "it is compiled by torch.compile; pass its ._orig_mod",
    ),
    "compiled in place": (
        lambda: changed(lambda model: model.layers[1].compile()),
        "its 'layers.1' is compiled in place; pass the network before",
    ),
    "half": (lambda: Plain().half(), "its 'first.weight' is float16; pass .* single precision"),
    "double": (lambda: Plain().double(), "its 'first.weight' is float64; pass .* single precision"),
    "mixed": (lambda: changed(half_norm), "its 'norm.weight' is float16; pass .* single precision"),
}


def made_parallel():
    return nn.DataParallel(Plain())


@pytest.mark.parametrize("case", WRAPPED)
def test_a_network_that_must_be_unwrapped_or_converted_says_what_to_pass(case):
    make, why = WRAPPED[case]
    with pytest.raises(AnchorError, match=f"^net: {why}") as caught:
        anchor(make(), 32)
    assert "\n" not in str(caught.value)


def test_a_studys_function_is_refused_before_weights_are_put_into_what_it_made(tmp_path):
    spec = AnchorSpec(
        name="mine", model=f"{__name__}:made_parallel", weights=str(tmp_path / "none.pth")
    )
    with pytest.raises(AnchorError, match=r"mine: it is a DataParallel; pass its \.module"):
        build(spec)


def test_a_plain_network_passes():
    refuse_wrapped(Plain(), "net")
    refuse_wrapped(
        changed(lambda model: model.register_buffer("table", torch.ones(2).double())), ""
    )
