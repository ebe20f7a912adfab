import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from klas.measures.divergence import chunk_bounds, kl_sums, prediction_sums, theta
from klas.selection.bootstrap import block_of


def reference(first, second):
    """float64, one pair of cuts at a time, by torch's own kl_div."""
    p, q = (x.double().log_softmax(-1) for x in (first, second))
    return torch.stack(
        [
            torch.stack(
                [
                    torch.nn.functional.kl_div(b, a, log_target=True, reduction="batchmean")
                    for b in q
                ]
            )
            for a in p
        ]
    )


def close(actual, wanted):
    return ((actual - wanted).abs() <= torch.maximum(1e-4 * wanted.abs(), torch.tensor(1e-9))).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 1.0, 20.0]), st.integers(2, 30))
def test_theta_matches_float64_kl_div(seed, scale, classes):
    torch.manual_seed(seed)
    first, second = torch.randn(3, 40, classes) * scale, torch.randn(4, 40, classes) * scale
    chunks = zip(first.split(17, 1), second.split(17, 1))
    assert close(theta(chunks), reference(first, second))


def test_float32_sums_keep_small_divergences():
    """The path of devices without float64: neighbours that differ by little, among far ones."""
    torch.manual_seed(0)
    base = torch.randn(1, 2000, 100)
    near = base + 0.05 * torch.randn(4, 2000, 100)
    log = near.log_softmax(-1)
    actual = kl_sums(log, log) / 2000
    wanted = reference(near, near)
    off = ~torch.eye(4, dtype=bool)
    assert ((actual.double() - wanted)[off] / wanted[off]).abs().max() < 1e-4


def test_equal_predictions_are_at_distance_zero_and_nothing_is_below():
    logits = torch.randn(5, 100, 7)
    actual = theta([(logits, logits)])
    assert actual.diagonal().abs().max() < 1e-12
    assert (actual >= 0).all()


def test_a_closed_form():
    p = torch.log(torch.tensor([[[0.5, 0.5]]]))
    q = torch.log(torch.tensor([[[0.9, 0.1]]]))
    wanted = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert float(theta([(p, q)])) == pytest.approx(wanted, rel=1e-6)


def test_chunks_cover_the_samples_in_order_and_stay_within_their_blocks():
    blocks = block_of(1_037)
    bounds = chunk_bounds(blocks, 4)
    rows = [row for start, stop, _ in bounds for row in range(start, stop)]
    assert rows == list(range(1_037))
    for start, stop, block in bounds:
        assert 0 < stop - start <= 4
        assert (blocks[start:stop] == block).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 40))
def test_sums_of_predictions_are_those_of_each_block(seed, samples, rows):
    torch.manual_seed(seed)
    first, second = torch.randn(3, samples, 5) * 3, torch.randn(2, samples, 5)
    blocks = np.sort(np.random.default_rng(seed).integers(0, 4, samples))
    blocks = np.unique(blocks, return_inverse=True)[1]
    bounds = chunk_bounds(blocks, rows)
    batches = [(first[:, a:b], second[:, a:b]) for a, b, _ in bounds]
    actual = prediction_sums(batches, bounds)
    p, q = first.double().softmax(-1).numpy(), second.double().softmax(-1).numpy()
    for block in range(blocks.max() + 1):
        here = blocks == block
        for i in range(3):
            entropy = -(p[i, here] * np.log(p[i, here])).sum()
            assert actual["entropy"][block, i] == pytest.approx(entropy)
            for j in range(2):
                kl = (p[i, here] * np.log(p[i, here] / q[j, here])).sum()
                squares = ((p[i, here] - q[j, here]) ** 2).mean(1).sum()
                assert actual["kl"][block, i, j] == pytest.approx(kl)
                assert actual["squares"][block, i, j] == pytest.approx(squares)
