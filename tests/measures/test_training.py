import torch

from klas.digits.zoo import ZOO
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
