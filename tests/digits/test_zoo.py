"""The shipped weights are what the README says they are."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import group_parameters

from klas.digits.images import LABEL_SIZES, SIZES
from klas.digits.segmenters import SEGMENTERS
from klas.digits.train import COURSES, evaluate
from klas.digits.zoo import WEIGHTS, ZOO
from klas.networks.cost import anchor_cost
from klas.networks.load import load_anchor
from klas.study import AnchorSpec

README = (Path(__file__).parents[2] / "README.md").read_text()
ROWS = {
    name: [float(cell) for cell in re.findall(r"[\d.]+", cells.replace(",", ""))]
    for name, cells in re.findall(r"^\| `(digits_\w+)` \|(.*)\|$", README, re.MULTILINE)
}
"""name → blocks, width, MMACs, parameters, top-1 or mIoU (%) on validation and on test scenes."""


def test_the_readme_names_every_built_in_network():
    assert list(ROWS) == [*ZOO, *SEGMENTERS]


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_an_anchor_is_what_the_readme_says(name):
    blocks, width, megamacs, params, val, test = ROWS[name]
    course = COURSES[name]
    spec, task = AnchorSpec(name=name, model=name), course.objective.task.name
    anchor = load_anchor(spec, crop=1.0, interpolation="bilinear", task=task)
    cost = anchor_cost(anchor)
    assert anchor.info.depth == blocks
    assert anchor.info.layouts[0].channels == width
    assert cost.total_macs / 1e6 == pytest.approx(megamacs, rel=0.01)
    assert cost.total_params == params
    # To a tenth of a point: other processors round otherwise.
    for split, figure in (("val", val), ("test", test)):
        scenes = SIZES[split] if name in ZOO else LABEL_SIZES[split]
        reached = evaluate(anchor, split, scenes, course=course)
        assert 100 * reached == pytest.approx(figure, abs=0.1)


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


def test_the_segmenters_are_worth_stitching():
    by_cost = [ROWS[n] for n in SEGMENTERS]
    for less, more in pairwise(by_cost):
        assert more[2] > 2 * less[2]
        assert more[4] > less[4] + 5
    assert sum((WEIGHTS / f"{n}.safetensors").stat().st_size for n in SEGMENTERS) < 3e6


@pytest.mark.parametrize("name", SEGMENTERS)
def test_timm_opens_a_segmenters_network_alone(name):
    """As a source without a head, say, of a study of images of one class."""
    model = timm.create_model(name, pretrained=True).eval()
    assert model.num_classes == 0
    shipped = load_file(WEIGHTS / f"{name}.safetensors")
    assert all(torch.equal(shipped[f"backbone.{k}"], v) for k, v in model.state_dict().items())


def test_the_convnet_is_of_another_kind():
    """What it is there for: BatchNorm, feature maps instead of tokens, one block a group."""
    model = timm.create_model("digits_convnet")
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    maps = model.forward_intermediates(torch.zeros(1, 1, 16, 16), intermediates_only=True)
    assert [tuple(m.shape) for m in maps[1:]] == [(1, 8, 4, 4), (1, 64, 2, 2)]
    groups = group_parameters(model, model.group_matcher(coarse=False))
    assert len(groups) == 1 + 4 + 1  # stem, blocks, head
