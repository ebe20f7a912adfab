"""The shipped weights are what the README says they are."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from timm.models import group_parameters

from klas.digits.train import evaluate
from klas.digits.zoo import WEIGHTS, ZOO
from klas.networks.cost import anchor_cost
from klas.networks.load import load_anchor
from klas.study import AnchorSpec

README = (Path(__file__).parents[2] / "README.md").read_text()
ROWS = {
    name: [float(cell) for cell in re.findall(r"[\d.]+", cells.replace(",", ""))]
    for name, cells in re.findall(r"^\| `(digits_\w+)` \|(.*)\|$", README, re.MULTILINE)
}
"""name → blocks, width, MMACs, parameters, validation top-1 (%), test top-1 (%)."""


def test_the_readme_names_the_whole_zoo():
    assert set(ROWS) == set(ZOO)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_an_anchor_is_what_the_readme_says(name):
    blocks, width, megamacs, params, val, test = ROWS[name]
    anchor = load_anchor(AnchorSpec(name=name, model=name), crop=1.0, interpolation="bilinear")
    cost = anchor_cost(anchor)
    assert anchor.info.depth == blocks
    assert anchor.info.layouts[0].channels == width
    assert cost.total_macs / 1e6 == pytest.approx(megamacs, rel=0.01)
    assert cost.total_params == params
    model = timm.create_model(name, pretrained=True)
    # To a tenth of a point: other processors round otherwise.
    assert 100 * evaluate(model, "val", 10_000) == pytest.approx(val, abs=0.1)
    assert 100 * evaluate(model, "test", 10_000) == pytest.approx(test, abs=0.1)


def test_the_four_are_worth_stitching():
    cheap, costly = ROWS[ZOO[0]], ROWS[ZOO[-1]]
    assert costly[4] - cheap[4] >= 12
    assert costly[4] >= 90
    assert costly[2] / cheap[2] >= 10
    # Each costs at least twice the one before it, and is worth it.
    by_cost = [ROWS[n] for n in ZOO]
    for less, more in pairwise(by_cost):
        assert more[2] > 2 * less[2]
        assert more[4] > less[4] + 2
    assert len({row[0] for row in by_cost}) == 4  # no pair is block for block alike
    assert sum(f.stat().st_size for f in WEIGHTS.glob("*.safetensors")) < 8e6


def test_the_convnet_is_of_another_kind():
    """What it is there for: BatchNorm, feature maps instead of tokens, one block a group."""
    model = timm.create_model("digits_convnet")
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    maps = model.forward_intermediates(torch.zeros(1, 1, 16, 16), intermediates_only=True)
    assert [tuple(m.shape) for m in maps[1:]] == [(1, 8, 4, 4), (1, 64, 2, 2)]
    groups = group_parameters(model, model.group_matcher(coarse=False))
    assert len(groups) == 1 + 4 + 1  # stem, blocks, head
