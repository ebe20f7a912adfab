import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from klas.digits.zoo import ZOO
from klas.errors import AnchorError
from klas.measures.least_squares import fit_stitch_layers
from klas.measures.matching import matching_sums
from klas.networks.anchor import Anchor, AnchorInfo, Transform
from klas.networks.family import Family
from klas.networks.layout import Layout
from klas.networks.load import load_anchor
from klas.networks.stitch import StitchLayer, stitch_layer
from klas.selection import scores
from klas.study import AnchorSpec


def dm(residuals, spread):
    return scores.dm(residuals.sum(0), spread.sum(0))


IMAGE = Layout(channels=3, grid=(4, 4), prefix=0, form="NCHW")
FORMS = [
    Layout(channels=6, grid=(4, 4), prefix=1),
    Layout(channels=5, grid=(3, 2), prefix=2),
    Layout(channels=4, grid=(4, 4), prefix=0, form="NHWC"),
    Layout(channels=7, grid=(2, 2), prefix=0, form="NCHW"),
]
STITCHES = [(i, j) for i in (3, 0, 2, 1) for j in (1, 3, 0, 2)]  # in no order of anything


def random_layer(have, want):
    layer = StitchLayer(have, want)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def net(layouts=FORMS, name="net"):
    """An anchor whose activations have the stated forms one after another."""
    parts = [
        nn.Sequential(random_layer(have, want), nn.Tanh())
        for have, want in zip([IMAGE, *layouts], layouts)
    ]
    transform = Transform(
        input_size=(3, 4, 4), mean=(0.0,) * 3, std=(1.0,) * 3, crop=1.0, interpolation="bilinear"
    )
    info = AnchorInfo(
        name=name,
        model=name,
        weights={"sha256": name},
        cuts=tuple(str(k) for k in range(len(layouts))),
        layouts=tuple(layouts),
        classes=1,
        transform=transform,
    )
    return Anchor(info, parts[0], parts[1:], nn.Flatten()).eval()


@pytest.fixture(scope="module")
def case():
    """Two anchors, T for every pair of forms, and 23 images as either sees them."""
    torch.manual_seed(0)
    source, target = net(name="source"), net(FORMS[::-1], name="target")
    layers = {(i, j): random_layer(FORMS[i], FORMS[::-1][j]) for i, j in STITCHES}
    return source, target, layers, torch.randn(23, 3, 4, 4), torch.randn(23, 3, 4, 4)


def measured(case, block_of, sizes=8, **settings):
    source, target, layers, *views = case
    family = Family(source, target, {s: layer.state_dict() for s, layer in layers.items()})
    views = [view.split(sizes) for view in (*views, torch.zeros(len(views[0])))]
    block_of = np.asarray(block_of, dtype=np.int64)
    ticks = []
    actual = matching_sums(family, zip(*views), block_of, ticks.append, **settings)
    assert ticks == [len(labels) for labels in views[-1]]
    return actual


def positions(activation, layout):
    """(N, positions, C) in float64."""
    if layout.form == "NCHW":
        activation = np.moveaxis(activation, 1, -1)
    return activation.reshape(len(activation), -1, layout.channels).astype(np.float64)


@torch.no_grad()
def slow(case, block_of):
    """Residuals and spreads by the definition, with everything in memory, in float64."""
    source, target, layers, first, second = case
    starts, ends = source.cut_activations(first), target.cut_activations(second)
    residuals, spreads = np.zeros((2, max(block_of) + 1, len(layers)))
    for s, ((i, j), layer) in enumerate(layers.items()):
        layout = target.info.layouts[j]
        moved = positions(layer(starts[i]).numpy(), layout)
        end = positions(ends[j].numpy(), layout)
        mean = end.mean((0, 1))
        for x, block in enumerate(block_of):
            residuals[block, s] += ((moved[x] - end[x]) ** 2).sum()
            spreads[block, s] += ((end[x] - mean) ** 2).sum()
    return residuals, spreads


BLOCKS = [0] * 5 + [1] * 5 + [2] * 12 + [3]


def test_every_form_to_every_other_equals_the_definition(case):
    actual = measured(case, BLOCKS)
    for got, want in zip(actual, slow(case, BLOCKS), strict=True):
        assert got.dtype == np.float64
        assert np.allclose(got, want, rtol=1e-5)
    residuals, spreads = slow(case, BLOCKS)
    assert np.allclose(dm(*actual), residuals.sum(0) / spreads.sum(0), rtol=1e-5)


def test_blocks_add_up_to_the_whole(case):
    for parts, whole in zip(measured(case, BLOCKS), measured(case, [0] * 23), strict=True):
        assert parts.shape == (4, 16)
        assert np.allclose(parts.sum(0), whole[0], rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=23).filter(lambda s: sum(s) <= 23))
def test_the_batch_does_not_matter(case, sizes):
    sizes = [*sizes, 23 - sum(sizes)] if sum(sizes) < 23 else sizes
    for got, want in zip(measured(case, BLOCKS, sizes), measured(case, BLOCKS), strict=True):
        assert np.allclose(got, want, rtol=1e-5)


class Shifted(nn.Module):
    """Far from 0, and close together."""

    def forward(self, activation):
        return 1000 + activation / 10


def test_a_large_mean_does_not_cancel(case):
    source, _, _, first, second = case
    torch.manual_seed(1)
    target = net(FORMS[::-1], name="target")
    target.stem.append(Shifted())
    target.blocks = nn.ModuleList([])
    layers = {(1, 0): random_layer(FORMS[1], FORMS[3])}
    shifted = source, target, layers, first, second
    residuals, spreads = slow(shifted, BLOCKS)
    actual = measured(shifted, BLOCKS, 2)
    assert np.allclose(actual.spread, spreads, rtol=1e-4)
    assert np.allclose(actual.residuals, residuals, rtol=1e-5)
    assert (residuals / spreads).min() > 1e5  # squares about 0 would have lost the spread


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_exact_copy_is_matched_exactly(case, precision):
    source, _, _, images, _ = case
    layers = {}
    for k, layout in enumerate(FORMS):
        identity = {"weight": torch.eye(layout.channels), "bias": torch.zeros(layout.channels)}
        layers[k, k] = stitch_layer(layout, layout, identity)
    actual = measured((source, source, layers, images, images), BLOCKS, precision=precision)
    assert (actual.residuals == 0).all()
    assert (actual.spread.sum(0) > 1).all()
    assert (dm(*actual) == 0).all()


def test_what_least_squares_finds_matches_better_than_the_mean():
    source, target = (
        load_anchor(AnchorSpec(name=n, model=n), crop=1.0, interpolation="bilinear").eval()
        for n in (ZOO[1], ZOO[2])
    )
    torch.manual_seed(0)
    images = torch.randn(200, 1, 16, 16)
    batch = images, images, torch.zeros(200)
    wanted = [(1, 1), (4, 2)]
    states = fit_stitch_layers(source, target, [batch], wanted)
    layers = {
        (i, j): stitch_layer(source.info.layouts[i], target.info.layouts[j], states[i, j])
        for i, j in wanted
    }
    actual = measured((source, target, layers, images, images), [0] * 200, 64)
    assert ((dm(*actual) > 0.01) & (dm(*actual) < 1)).all()  # on the images of the fit itself


class Constant(nn.Module):
    def forward(self, activation):
        return torch.full_like(activation, 0.1)


def test_a_target_that_does_not_vary_has_no_spread(case):
    source, _, layers, first, second = case
    target = net(FORMS[::-1], name="target")
    target.blocks[1].append(Constant())
    copied = StitchLayer(FORMS[0], FORMS[1])
    nn.init.constant_(copied.bias, 0.1)
    nn.init.constant_(copied.prefix_bias, 0.1)
    for layer, wanted in ((layers[0, 2], np.inf), (copied, 0)):
        actual = measured((source, target, {(0, 2): layer}, first, second), BLOCKS)
        assert (actual.spread == 0).all()
        assert dm(*actual) == [wanted]


def test_blocks_drawn_again_are_a_ratio_of_their_sums():
    residuals, spread = np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([[2.0, 1.0], [2.0, 1.0]])
    assert np.allclose(dm(residuals, spread), [1.0, 1.0])
    assert np.allclose(dm(residuals[[1, 1]], spread[[1, 1]]), [1.5, 0.0])


@pytest.mark.parametrize("bad", [float("nan"), 1e25])
def test_what_is_not_finite_is_refused_by_name(case, bad):
    source, target, layers, first, second = case
    broken = random_layer(FORMS[1], FORMS[2])
    nn.init.constant_(broken.bias, bad)
    with pytest.raises(AnchorError, match="source → target: the activations at cuts 1 and 1 "):
        measured((source, target, {**layers, (1, 1): broken}, first, second), BLOCKS)
