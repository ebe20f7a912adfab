"""Classification with tensors, against what its numpy half and plain sums say."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from klas.networks.layout import Layout
from klas.tasks.classification import Classification
from klas.tasks.task import CLASSIFICATION
from tests.networks.layouts import LAYOUTS, activation

TASK = Classification()


def outputs_and_targets():
    torch.manual_seed(0)
    return torch.randn(50, 4), torch.randint(0, 4, (50,))


def test_it_is_the_task_of_the_same_name():
    assert TASK.task is CLASSIFICATION


def test_outcomes_are_those_of_its_metric():
    outputs, targets = outputs_and_targets()
    stored = {"logits": outputs.numpy(), "labels": targets.numpy()}
    assert (
        TASK.outcomes(outputs, targets).tolist() == CLASSIFICATION.metric.of_anchor(stored).tolist()
    )


def test_outcomes_of_many_networks_at_once_are_those_of_each():
    outputs, targets = outputs_and_targets()
    many = torch.stack([outputs, -outputs, outputs.flip(1)])
    together = TASK.outcomes(many, targets)
    assert together.shape == (3, 50)
    assert all(torch.equal(row, TASK.outcomes(few, targets)) for row, few in zip(together, many))


def test_the_loss_is_the_mean_negative_log_probability_of_the_class():
    outputs, targets = outputs_and_targets()
    p = np.exp(outputs.double().numpy())
    p /= p.sum(1, keepdims=True)
    wanted = -np.log(p[np.arange(50), targets]).mean()
    assert float(TASK.loss(outputs, targets)) == pytest.approx(wanted, rel=1e-5)


def test_a_teacher_is_always_right_by_its_own_targets():
    outputs, _ = outputs_and_targets()
    targets = TASK.hard_targets(outputs)
    assert TASK.outcomes(outputs, targets).all()
    sure = 100.0 * one_hot(targets, 4)
    assert float(TASK.loss(sure, targets)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_unit_is_an_image(layout):
    x = activation(layout)
    units = TASK.units(x, layout, "mean")
    assert units.shape == (len(x), layout.channels)
    channels_last = x.permute(0, 2, 3, 1) if layout.form == "NCHW" else x
    positions = channels_last.reshape(len(x), -1, layout.channels)
    assert torch.allclose(units, positions.mean(1), atol=1e-6)


def test_a_head_reads_the_prefix_tokens_and_the_mean_over_the_map():
    torch.manual_seed(0)
    tokens = torch.randn(3, 2 + 6, 4)
    layout = Layout(channels=4, grid=(2, 3), prefix=2, form="NLC")
    features = TASK.head_features(tokens, layout)
    assert torch.equal(features[:, :2], tokens[:, :2])
    assert torch.allclose(features[:, 2], tokens[:, 2:].mean(1))
    maps = torch.randn(3, 4, 2, 3)
    layout = Layout(channels=4, grid=(2, 3), prefix=0, form="NCHW")
    features = TASK.head_features(maps, layout)
    assert torch.allclose(features, maps.mean((2, 3))[:, None])
