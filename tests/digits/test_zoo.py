"""The shipped weights are what the README says they are."""

import re
from pathlib import Path

import pytest
import timm

from klas.digits.train import evaluate
from klas.digits.zoo import WEIGHTS, ZOO
from klas.networks.count import anchor_cost
from klas.networks.load import load_anchor
from klas.study import AnchorSpec

README = (Path(__file__).parents[2] / "README.md").read_text()
ROWS = {
    name: [float(cell) for cell in re.findall(r"[\d.]+", cells.replace(",", ""))]
    for name, cells in re.findall(r"^\| `(digits_vit_\w+)` \|(.*)\|$", README, re.MULTILINE)
}
"""name → blocks, width, MMACs, parameters, validation top-1 (%), test top-1 (%)."""


def test_the_readme_names_the_whole_zoo():
    assert set(ROWS) == set(ZOO)


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


def test_the_three_are_worth_stitching():
    cheap, costly = ROWS[ZOO[0]], ROWS[ZOO[-1]]
    assert costly[4] - cheap[4] >= 12
    assert costly[4] >= 90
    assert costly[2] / cheap[2] >= 10
    assert len({ROWS[n][0] for n in ZOO}) == len({ROWS[n][1] for n in ZOO}) == 3
    assert sum(f.stat().st_size for f in WEIGHTS.glob("*.safetensors")) < 8e6
