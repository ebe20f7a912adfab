import pytest
import torch
from torch.nn.functional import cross_entropy, softmax

from klas.deploy.training.losses import make_loss
from klas.tasks.classification import Classification
from tests.deploy.training.trainings import PLAIN

OUTPUTS = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
TAUGHT = torch.tensor([[0.0, 5.0, 1.0], [2.0, 0.0, 1.0]])
LABELS = torch.tensor([0, 2])


def loss(outputs=OUTPUTS, taught=TAUGHT, **recipe):
    return make_loss(PLAIN.model_copy(update=recipe), Classification())(outputs, LABELS, taught)


def test_without_a_teacher_it_is_the_tasks():
    assert torch.equal(loss(taught=None), cross_entropy(OUTPUTS, LABELS))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_hard_distillation_adds_the_classes_that_the_teacher_predicts(weight):
    actual = loss(distillation="hard", distillation_weight=weight)
    own, theirs = cross_entropy(OUTPUTS, LABELS), cross_entropy(OUTPUTS, torch.tensor([1, 0]))
    assert torch.allclose(actual, (1 - weight) * own + weight * theirs)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_distillation_adds_the_divergence_from_its_probabilities(temperature):
    actual = loss(distillation="soft", temperature=temperature)
    p, q = softmax(TAUGHT / temperature, 1), softmax(OUTPUTS / temperature, 1)
    divergence = (p * (p / q).log()).sum(1).mean()
    expected = cross_entropy(OUTPUTS, LABELS) / 2 + temperature**2 * divergence / 2
    assert torch.allclose(actual, expected)


def test_a_member_that_is_the_teacher_has_nothing_to_learn_from_it():
    actual = loss(taught=OUTPUTS, distillation="soft", distillation_weight=1.0)
    assert actual.item() == pytest.approx(0, abs=1e-6)
