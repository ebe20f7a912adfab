import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup

from klas.deploy.training.drawing import MIXING, drawn
from klas.deploy.training.mixing import Mixing, mixed
from klas.deploy.training.plan import positions
from tests.deploy.training.trainings import PLAIN

LABELS = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7])
IMAGES = torch.randn(8, 3, 32, 24, generator=torch.Generator().manual_seed(0))


def recipe(**changes):
    return PLAIN.model_copy(update=changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"mixup": 0.8},
        {"cutmix": 1.0},
        {"mixup": 0.8, "cutmix": 1.0, "smoothing": 0.1},
        {"mixup": 0.8, "cutmix": 1.0, "mixup_prob": 0.5, "switch_prob": 0.3},
    ],
)
def test_on_the_largest_grid_it_is_timms_own(changes):
    settings = recipe(**changes)
    mixing = Mixing(settings, 10, (32, 24))
    timms = Mixup(
        mixup_alpha=settings.mixup,
        cutmix_alpha=settings.cutmix,
        prob=settings.mixup_prob,
        switch_prob=settings.switch_prob,
        label_smoothing=settings.smoothing,
        num_classes=10,
    )
    unmixed = 0
    for step in range(20):
        share, targets = mixing.draw(step, LABELS)
        with drawn(MIXING, settings.seed, step):
            images, wanted = timms(IMAGES.clone(), LABELS)
        assert torch.allclose(mixed(IMAGES, share), images, atol=1e-6)
        assert torch.allclose(targets, wanted)
        unmixed += not share.any()
    assert unmixed > 0 if settings.mixup_prob < 1 else unmixed <= 2


@pytest.mark.parametrize("changes", [{"mixup": 0.8}, {"cutmix": 1.0}])
def test_every_view_is_mixed_alike(changes):
    """The share of the partner, over the whole image and in each of its quarters."""
    mixing = Mixing(recipe(**changes), 10, (96, 96))
    for step in range(20):
        share, targets = mixing.draw(step, LABELS)
        pair = torch.tensor([0.0, 1.0])[:, None, None, None]
        large, small = (mixed(pair.expand(2, 1, side, side), share)[0, 0] for side in (96, 24))
        quarters = [view.unflatten(0, (2, -1)).unflatten(2, (2, -1)) for view in (large, small)]
        large, small = (view.mean((1, 3)) for view in quarters)
        assert torch.allclose(large, small, atol=0.1)
        assert large.mean() == pytest.approx(float(targets[0, 7]), abs=0.01)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_in_parts_it_is_the_whole_batch(parts):
    mixing = Mixing(recipe(mixup=0.8, cutmix=1.0, smoothing=0.1), 10, (32, 24))
    for step in range(6):
        share, targets = mixing.draw(step, LABELS)
        whole = mixed(IMAGES, share)
        for part in range(parts):
            rows = positions(8, part, parts)
            share, own = mixing.draw(step, LABELS[rows])
            assert torch.equal(mixed(IMAGES[rows], share), whole[rows])
            assert torch.equal(own, targets[rows])


def test_smoothing_alone_is_torchs():
    _, targets = Mixing(recipe(smoothing=0.2), 10, (8, 8)).draw(0, LABELS)
    outputs = torch.randn(8, 10)
    actual = torch.nn.functional.cross_entropy(outputs, targets)
    expected = torch.nn.functional.cross_entropy(outputs, LABELS, label_smoothing=0.2)
    assert torch.allclose(actual, expected)


def test_without_both_the_labels_stay():
    share, targets = Mixing(recipe(), 10, (8, 8)).draw(0, LABELS)
    assert share is None
    assert targets is LABELS
    assert mixed(IMAGES, None) is IMAGES
    assert np.array_equal(LABELS, np.arange(8))
