from copy import deepcopy

import pytest
import torch

from klas.digits.zoo import ZOO
from klas.measures.normalisation import calibrate_stitches
from klas.measures.schedule import one_cycle
from klas.measures.training import tune
from klas.networks.anchor import freeze
from klas.networks.family import Family
from klas.networks.load import load_anchor
from klas.networks.stitch import StitchLayer
from klas.study import AnchorSpec
from klas.tasks.classification import Classification

CPU = torch.device("cpu")


def anchors():
    return [
        freeze(load_anchor(AnchorSpec(name=n, model=n), crop=1.0, interpolation="bilinear"), CPU)
        for n in ZOO[:2]
    ]


def batches_from(first):
    generator = torch.Generator().manual_seed(5)
    data = [
        (
            torch.randn(8, 1, 16, 16, generator=generator),
            torch.randint(10, (8,), generator=generator),
        )
        for _ in range(12)
    ]
    return iter([(x, x, y) for x, y in data[first:]])


def tuned(stitches, steps=12):
    source, target = anchors()
    torch.manual_seed(0)
    layers = {}
    for i, j in [(1, 1), (2, 3), (3, 4)]:
        layer = StitchLayer(source.info.layouts[i], target.info.layouts[j])
        torch.nn.init.normal_(layer.weight, std=0.1)
        layers[i, j] = layer
    layers = {s: layers[s] for s in stitches}
    before = [p.clone() for a in (source, target) for p in a.parameters()]
    ticks = []
    family = Family(source, target, {s: layer.state_dict() for s, layer in layers.items()})
    objective = Classification()
    tune(family, batches_from, objective=objective, steps=steps, lr=1e-2, tick=ticks.append)
    after = [p for a in (source, target) for p in a.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(before, after))
    assert sum(ticks) == steps
    return {s: family.layer(s) for s in stitches}


def test_tuning_together_is_tuning_each_alone():
    together = tuned([(1, 1), (2, 3), (3, 4)])
    for stitch, layer in together.items():
        alone = tuned([stitch])[stitch]
        assert torch.equal(layer.weight, alone.weight)
        assert torch.equal(layer.bias, alone.bias)


def test_tuning_lowers_the_loss():
    source, target = anchors()
    untouched, trained = (tuned([(2, 3)], steps)[2, 3] for steps in (0, 12))

    def loss(layer):
        with torch.no_grad():
            total = 0.0
            for x, _, y in batches_from(0):
                logits = target.resume(layer(source.cut_activations(x, upto=2)[-1]), 3)
                total += torch.nn.functional.cross_entropy(logits, y).item()
            return total

    assert loss(trained) < loss(untouched)


@pytest.mark.parametrize("own", [False, True])
def test_behind_its_layer_a_stitch_normalises_by_each_batch(own):
    """Against a plain loop over a network of its own, its back half in training mode."""
    name, steps, place = ZOO[2], 6, (2, 1)
    source, target = (
        freeze(load_anchor(AnchorSpec(name=n, model=n), crop=1.0, interpolation="bilinear"), CPU)
        for n in (name, name)
    )
    torch.manual_seed(0)
    layer = StitchLayer(source.info.layouts[place[0]], target.info.layouts[place[1]])
    torch.nn.init.normal_(layer.weight, std=0.3)
    plain = deepcopy(Family(source, target, {place: layer.state_dict()})).stitch(place)
    optimizer = torch.optim.AdamW(plain.layer.parameters(), weight_decay=0.0)
    for part in (plain.back, plain.head):
        for norm in part.modules():
            norm.training = isinstance(norm, torch.nn.BatchNorm2d)
    for step, (x, _, y) in zip(range(steps), batches_from(0)):
        optimizer.param_groups[0]["lr"] = 1e-2 * one_cycle(step, steps)
        optimizer.zero_grad()
        if step < steps // 2:  # what the head reads: means over the map
            with torch.no_grad():
                wanted = target.cut_activations(x)[-1].mean((2, 3))
            moved = plain.layer(plain.front(plain.stem(x)))
            missed = (plain.back(moved).mean((2, 3)) - wanted).square().mean() / wanted.var()
            missed.backward()
        else:
            torch.nn.functional.cross_entropy(plain(x), y).backward()
        optimizer.step()
    family = Family(source, target, {place: layer.state_dict()})
    before = [deepcopy(anchor.state_dict()) for anchor in (source, target)]
    if own:  # the statistics that it has before make no difference
        seen = [(x, y) for x, _, y in batches_from(0)]
        calibrate_stitches(family, seen, objective=Classification())
    tune(
        family,
        batches_from,
        objective=Classification(),
        steps=steps,
        lr=1e-2,
        tick=lambda n: None,
    )
    assert torch.allclose(family.layer(place).weight, plain.layer.weight, atol=1e-5)
    assert not torch.allclose(family.layer(place).weight, layer.weight, atol=1e-3)
    assert not any(module.training for module in family.target.modules())
    for anchor, state in zip((source, target), before):
        assert all(torch.equal(anchor.state_dict()[n], v) for n, v in state.items())
