import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from klas.measures.divergence import kl_sums, theta


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


def close(found, wanted):
    return ((found - wanted).abs() <= torch.maximum(1e-4 * wanted.abs(), torch.tensor(1e-9))).all()


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
    found = kl_sums(log, log) / 2000
    wanted = reference(near, near)
    off = ~torch.eye(4, dtype=bool)
    assert ((found.double() - wanted)[off] / wanted[off]).abs().max() < 1e-4


def test_equal_predictions_are_at_distance_zero_and_nothing_is_below():
    logits = torch.randn(5, 100, 7)
    found = theta([(logits, logits)])
    assert found.diagonal().abs().max() < 1e-12
    assert (found >= 0).all()


def test_a_closed_form():
    p = torch.log(torch.tensor([[[0.5, 0.5]]]))
    q = torch.log(torch.tensor([[[0.9, 0.1]]]))
    wanted = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert float(theta([(p, q)])) == pytest.approx(wanted, rel=1e-6)
