"""Segmentation with tensors, against torchmetrics and plain sums over pixels."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from klas.data.label_maps import VOID
from klas.networks.layout import Layout
from klas.selection.bootstrap import block_of, draws
from klas.tasks.metric import MIOU, class_iou
from klas.tasks.segmentation import Segmentation
from klas.tasks.task import SEGMENTATION
from tests.networks.layouts import LAYOUTS, activation

TASK = Segmentation()
CLASSES = 5


def outputs_and_targets(samples=7, *, absent=(), size=(6, 9), seed=0):
    """Logits, and targets that they partly predict, with void pixels and without some classes."""
    random = torch.Generator().manual_seed(seed)
    outputs = torch.randn(samples, CLASSES, *size, generator=random)
    targets = torch.randint(0, CLASSES, (samples, *size), generator=random)
    easy = torch.rand(targets.shape, generator=random) < 0.5
    targets = torch.where(easy, outputs.argmax(1), targets)
    for number in absent:
        outputs[:, number] = -9
        targets[targets == number] = VOID
    targets[torch.rand(targets.shape, generator=random) < 0.2] = VOID
    return outputs, targets.to(torch.uint8)


def test_it_is_the_task_of_the_same_name():
    assert TASK.task is SEGMENTATION
    assert SEGMENTATION.metric is MIOU
    assert (MIOU.label, MIOU.heading, MIOU.axis) == ("mIoU", "mIoU", "mIoU (%)")


@pytest.mark.parametrize("absent", [(), (2,), (0, 4)])
def test_miou_is_torchmetrics_jaccard_index_of_the_data_set(absent):
    outputs, targets = outputs_and_targets(absent=absent)
    theirs = MulticlassJaccardIndex(CLASSES, ignore_index=VOID)
    per_class = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=VOID)
    parts = []
    for few in (slice(0, 3), slice(3, 7)):  # the metric of all pixels, however they come
        theirs.update(outputs[few], targets[few].long())
        per_class.update(outputs[few], targets[few].long())
        parts.append(TASK.outcomes(outputs[few], targets[few]).numpy())
    outcomes = np.concatenate(parts)
    assert MIOU.value(outcomes) == pytest.approx(float(theirs.compute()), rel=1e-6)
    known = [k for k in range(CLASSES) if k not in absent]
    assert np.allclose(class_iou(outcomes)[known], per_class.compute().numpy()[known], rtol=1e-6)
    assert np.isnan(class_iou(outcomes)[list(absent)]).all()


def test_stored_outcomes_and_replicates_are_those_of_the_pixels():
    outputs, targets = outputs_and_targets(250, size=(2, 3))
    outcomes = TASK.outcomes(outputs, targets).numpy()
    packed, blocks = MIOU.packed(outcomes), block_of(250)
    assert packed.shape == (100, 3, CLASSES)
    assert MIOU.packed_value(packed, 250) == MIOU.value(outcomes)
    sums = MIOU.packed_sums(packed, 250)
    assert np.array_equal(sums, MIOU.block_sums(outcomes, blocks))
    drawn = np.concatenate([np.ones((1, 100), np.int64), draws(100, 4, 0)])
    other = MIOU.block_sums(outcomes[:, :, ::-1], blocks)
    actual = MIOU.replicates(np.stack([sums, other]), np.bincount(blocks), drawn)
    assert actual.shape == (5, 2)
    for times, (value, mirrored) in zip(drawn, actual):
        rows = np.concatenate([np.flatnonzero(blocks == b).repeat(n) for b, n in enumerate(times)])
        assert value == pytest.approx(MIOU.value(outcomes[rows]), rel=1e-12)
        assert mirrored == pytest.approx(value, rel=1e-12)


def test_what_has_no_pixel_that_counts_is_worth_nothing():
    outputs, targets = outputs_and_targets()
    outcomes = TASK.outcomes(outputs, torch.full_like(targets, VOID))
    assert not outcomes.any()
    assert MIOU.value(outcomes.numpy()) == 0
    assert float(TASK.loss(outputs, torch.full_like(targets, VOID))) == 0


def test_the_loss_is_the_mean_over_pixels_that_count():
    outputs, targets = outputs_and_targets()
    p = outputs.double().softmax(1).numpy()
    each = [-np.log(p[n, k, y, x]) for (n, y, x), k in np.ndenumerate(targets.numpy()) if k != VOID]
    assert float(TASK.loss(outputs, targets)) == pytest.approx(np.mean(each), rel=1e-5)


def test_a_teacher_is_always_right_by_its_own_targets():
    outputs, _ = outputs_and_targets()
    assert MIOU.value(TASK.outcomes(outputs, TASK.hard_targets(outputs)).numpy()) == 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_unit_is_a_cell_and_its_target_the_share_of_each_class(layout):
    x = activation(layout)
    units = TASK.units(x, layout, "mean")
    assert units.shape == (len(x), *TASK.unit_shape(layout), layout.channels)
    height, width = (2 * side for side in layout.grid)
    _, targets = outputs_and_targets(2, size=(height, width))
    shares = TASK.unit_targets(targets, layout, CLASSES)
    assert shares.shape == (units[..., 0].numel(), CLASSES)
    cells = targets.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).permute(0, 1, 3, 2, 4)
    for share, cell in zip(shares, cells.flatten(0, 2)):
        wanted = [float((cell == number).sum()) / 4 for number in range(CLASSES)]
        assert share.tolist() == pytest.approx(wanted, abs=1e-6)


def test_a_probe_that_knows_every_cell_has_the_outcomes_of_its_resized_prediction():
    layout = Layout(channels=3, grid=(3, 3), prefix=0)
    _, targets = outputs_and_targets(4, size=(6, 6))
    logits = torch.randn(4, 3, 3, CLASSES)
    big = torch.nn.functional.interpolate(logits.permute(0, 3, 1, 2), size=(6, 6), mode="bilinear")
    assert torch.equal(TASK.unit_outcomes(logits, targets, layout), TASK.outcomes(big, targets))
