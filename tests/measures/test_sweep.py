import weakref

import numpy as np
import pytest
import torch

from klas.digits.zoo import ZOO
from klas.errors import AnchorError
from klas.measures.sweep import Outputs, PooledFeatures, sweep
from klas.networks.load import load_anchor
from klas.study import AnchorSpec
from klas.tasks.classification import Classification

TASK = Classification()


@pytest.fixture(scope="module")
def anchor():
    spec = AnchorSpec(name="net", model=ZOO[0])
    return load_anchor(spec, crop=1.0, interpolation="bilinear").eval()


def data(samples=10, batch=4):
    torch.manual_seed(0)
    images, labels = torch.randn(samples, 1, 16, 16), torch.arange(samples)
    return images, labels, zip(images.split(batch), labels.split(batch))


class Kept:
    """Keeps what is appended, joined by name."""

    def __init__(self):
        self.parts = {}

    def append(self, name, rows):
        self.parts.setdefault(name, []).append(rows)

    def __getitem__(self, name):
        return np.concatenate(self.parts[name])


def test_features_and_outputs_are_those_of_the_whole_network(anchor):
    images, labels, batches = data()
    kept, ticks = Kept(), []
    collectors = [
        PooledFeatures(anchor, TASK, "mean", kept.append),
        Outputs(anchor, TASK, kept.append),
    ]
    sweep(anchor, batches, collectors, ticks.append)
    with torch.inference_mode():
        activation = anchor.stem(images)
        for cut, block in enumerate([*anchor.blocks, anchor.head]):
            assert np.allclose(kept[f"cut{cut}"], activation.mean(1), atol=1e-5)
            activation = block(activation)
    assert np.allclose(kept["logits"], activation, atol=1e-5)
    assert (kept["labels"] == labels.numpy()).all()
    assert ticks == [4, 4, 2]


def test_what_is_appended_has_the_stated_shapes(anchor):
    _, _, batches = data()
    kept = Kept()
    collectors = [
        PooledFeatures(anchor, TASK, "prefix", kept.append),
        Outputs(anchor, TASK, kept.append),
    ]
    sweep(anchor, batches, collectors, lambda n: None)
    stated = PooledFeatures.shapes(anchor.info, TASK, 10) | Outputs.shapes(anchor.info, TASK, 10)
    assert set(stated) == set(kept.parts)
    for name, (shape, dtype) in stated.items():
        assert kept[name].shape == shape
        assert kept[name].dtype == dtype


def test_one_activation_is_held_at_a_time(anchor):
    seen = []

    class Watching:
        def update_cut(self, cut, activation):
            # The one before may live as the input of the block that made this one.
            assert all(ref() is None for ref in seen[:-1])
            seen.append(weakref.ref(activation))

        def update_output(self, logits, labels):
            assert all(ref() is None for ref in seen[:-1])

    _, _, batches = data(samples=4)
    sweep(anchor, batches, [Watching()], lambda n: None)
    assert len(seen) == anchor.info.depth + 1


def test_bfloat16_rounds_the_forward_pass_and_nothing_after_it(anchor):
    actual = {}
    for precision in ("float32", "bfloat16"):
        _, _, batches = data()
        kept = Kept()
        collectors = [
            PooledFeatures(anchor, TASK, "mean", kept.append),
            Outputs(anchor, TASK, kept.append),
        ]
        sweep(anchor, batches, collectors, lambda n: None, precision=precision)
        actual[precision] = kept
    for name in ("cut0", f"cut{anchor.info.depth}", "logits"):
        exact, rounded = (actual[precision][name] for precision in ("float32", "bfloat16"))
        assert rounded.dtype == np.float32
        assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()
    means = actual["bfloat16"]["cut0"]
    # Sums over tokens are float32: most of their bits are beyond bfloat16's eight.
    assert (torch.from_numpy(means).bfloat16().float().numpy() != means).mean() > 0.5


@pytest.mark.parametrize(("cut", "match"), [(1, "net: the activations at cut 1 "), (None, "net: ")])
def test_what_is_not_finite_is_refused_by_name_in_its_batch(anchor, cut, match):
    images, labels, _ = data()
    part = anchor.head if cut is None else anchor.blocks[cut - 1]
    handle = part.register_forward_hook(lambda module, inputs, output: output / 0)
    kept = Kept()
    collectors = [
        PooledFeatures(anchor, TASK, "mean", kept.append),
        Outputs(anchor, TASK, kept.append),
    ]
    try:
        with pytest.raises(AnchorError, match=match + r".*not finite"):
            sweep(anchor, [(images[:4], labels[:4])] * 2, collectors, lambda n: None)
    finally:
        handle.remove()
    assert len(kept.parts["cut0"]) == 1  # the second batch was never run
