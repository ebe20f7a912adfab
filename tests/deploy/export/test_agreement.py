import pytest
import torch
from torch import nn

from klas.deploy.export.agreement import BATCHES, EXAMPLE, largest_difference
from klas.errors import ExportError

SIZE = (1, 2, 2)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()


def test_the_largest_difference_is_over_all_batches_none_of_which_is_the_examples():
    net, seen = network(), []

    def run(images):
        seen.append(len(images))
        return net(images) + 1e-6 * len(images)

    assert largest_difference(net, run, SIZE) == pytest.approx(5e-6, rel=0.1)
    assert tuple(seen) == BATCHES == (1, 5)
    assert EXAMPLE not in BATCHES


def test_outputs_are_compared_by_their_size():
    net = network()
    nn.init.constant_(net[1].bias, 1000.0)
    assert largest_difference(net, lambda x: net(x) + 0.01, SIZE) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y + 0.001, r"differ by up to 0\.001 at batch 1; nothing was kept"),
        (lambda y: y * float("nan"), "differ by up to nan"),
        (lambda y: y[:, :2], r"outputs of shape \(1, 2\) and not \(1, 3\)"),
        (lambda y: y[:1], r"outputs of shape \(1, 3\) and not \(5, 3\)"),
        (lambda y: y.reshape(1, 3), "does not run on a batch of 5"),
    ],
)
def test_what_gives_other_outputs_is_refused(change, words):
    net = network()
    with pytest.raises(ExportError, match=words):
        largest_difference(net, lambda images: change(net(images)), SIZE)
