"""ProbeNet: the same probes by gradient steps, the images through the network each time."""

import pytest
import torch
from torch import nn

from klas.measures.probenet import BATCH, steps_of, train_by_passes
from klas.measures.probes import mean_and_std, train_probe
from klas.measures.schedule import batch_rows
from klas.networks.anchor import Anchor, Transform, freeze
from klas.tasks.classification import Classification

TRANSFORM = Transform(
    input_size=(3, 8, 8), mean=(0.5,) * 3, std=(0.5,) * 3, crop=1.0, interpolation="bilinear"
)
CLASSES, L2 = 4, 1e-4


@pytest.fixture(scope="module")
def anchor():
    torch.manual_seed(0)

    def block():
        return nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.Tanh())

    network = nn.Sequential(
        nn.Conv2d(3, 6, 2, stride=2),
        nn.Sequential(block(), block()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, CLASSES),
    )
    made = Anchor.from_module(network, "mine", transform=TRANSFORM)
    return freeze(made, torch.device("cpu"))


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(1)
    labels = torch.randint(0, CLASSES, (2_000,))
    colours = 2 * torch.randn(CLASSES, 3, 1, 1)
    return colours[labels] + 1.5 * torch.randn(2_000, 3, 1, 1) + torch.randn(2_000, 3, 8, 8), labels


def trained(anchor, cut, images, labels, passes):
    with torch.no_grad():
        features = Classification().units(
            anchor.cut_activations(images)[cut], anchor.info.layouts[cut], "mean"
        )
    mean, std = mean_and_std(features.numpy(), torch.device("cpu"))
    steps = passes * steps_of(len(images))
    order = torch.from_numpy(batch_rows(0, steps, rows=len(images), batch=BATCH, seed=0))
    seen = []

    def batches():
        for rows in order.split(BATCH):
            seen.append(len(rows))
            yield images[rows], labels[rows]

    probe = train_by_passes(
        anchor,
        cut,
        batches(),
        steps,
        mean=mean,
        std=std,
        classes=CLASSES,
        l2=L2,
        objective=Classification(),
        pool="mean",
    )
    assert len(seen) == steps
    return probe, train_probe(features.numpy(), labels, CLASSES, l2=L2), features


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_its_predictions_come_near_those_of_the_optimum(anchor, images, cut):
    probe, optimum, features = trained(anchor, cut, *images, passes=1)
    ours, theirs = (p.logits(features).softmax(1) for p in (probe, optimum))
    hits = [(p.argmax(1) == images[1]).float().mean() for p in (ours, theirs)]
    assert hits[1] > 0.5  # chance is 0.25
    assert abs(hits[0] - hits[1]) < 0.03
    longer, _, _ = trained(anchor, cut, *images, passes=5)
    gaps = [(p.logits(features).softmax(1) - theirs).abs().mean() for p in (probe, longer)]
    assert gaps[1] < gaps[0] < 0.1
    assert not probe.converged


def test_the_network_runs_to_the_cut_and_stays_as_it_is(anchor, images):
    ran = []
    for k, block in enumerate(anchor.blocks):
        block.register_forward_hook(lambda *_, k=k: ran.append(k + 1))
    before = {name: value.clone() for name, value in anchor.state_dict().items()}
    mean, std = torch.zeros(6), torch.ones(6)
    train_by_passes(
        anchor,
        1,
        iter([(images[0][:8], images[1][:8])] * 3),
        3,
        mean=mean,
        std=std,
        classes=CLASSES,
        l2=L2,
        objective=Classification(),
        pool="mean",
    )
    assert ran == [1, 1, 1]
    assert all(torch.equal(value, before[name]) for name, value in anchor.state_dict().items())
