import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from klas.measures import divergence
from klas.measures.divergence import (
    chunk_bounds,
    pair_sums,
    prediction_sums,
    sums_of_cuts,
    theta,
)
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


scales = st.floats(-2, 2).map(lambda power: 10**power)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    classes=st.sampled_from([2, 10, 300]),
    samples=st.sampled_from([1, 3, 40]),
    alike=st.booleans(),
    peaked=scales,
    apart=scales,
    nearly_equal=st.floats(-6, 0.5).map(lambda power: 10**power),
    offset=st.floats(-1e3, 1e3),
)
def test_theta_is_that_of_float64_however_the_predictions_lie(
    seed, classes, samples, alike, peaked, apart, nearly_equal, offset
):
    """Cuts that are close to each other and far from the rest, peaked or flat, over all sizes.

    ``alike``: every sample is the same, so that no error of rounding averages out.
    """
    torch.manual_seed(seed)
    shape = (samples, classes)
    base = torch.randn(shape) * peaked
    far = base + torch.randn(shape) * peaked * apart
    cuts = [base, base * (1 + nearly_equal), far, far + torch.randn(shape) * nearly_equal]
    first, second = torch.stack(cuts), torch.stack(cuts[::-1]) + offset
    if alike:
        first, second = (x[:, :1].repeat(1, samples, 1) for x in (first, second))
    assert close(theta([(first, second)]), reference(first, second))
    assert close(theta([(first, first)]), reference(first, first))
    assert close_squares(pair_sums(first, second, squares=True).squares / samples, first, second)


def close_squares(actual, first, second):
    p, q = (x.double().softmax(-1) for x in (first, second))
    wanted = (p[:, None] - q).square().sum(-1).mean(-1)
    return ((actual - wanted).abs() <= 1e-4 * wanted + 1e-9).all()


@pytest.mark.parametrize("distance", [1e-12, 1e-9, 1e-6, 1e-3, 1.0, 50.0])
def test_theta_of_every_size_beside_predictions_that_are_far_away(distance):
    torch.manual_seed(0)
    base = torch.randn(30, 50)
    near = base + (2 * distance) ** 0.5 * torch.randn(30, 50)
    first, second = torch.stack([base, 9 * base]), torch.stack([near, -9 * base])
    wanted = reference(first, second)
    assert 0.1 * distance < wanted[0, 0] < 10 * distance
    assert close(theta([(first, second)]), wanted)


def test_little_is_made_again_in_float64(monkeypatch):
    """Only the neighbours that are close; a cut and itself are known to be alike."""
    made = []
    kl_of_logs = divergence._kl_of_logs

    def counted(log_p, log_q):
        made.append((len(log_p), len(log_q)))
        return kl_of_logs(log_p, log_q)

    monkeypatch.setattr(divergence, "_kl_of_logs", counted)
    torch.manual_seed(0)
    cuts = torch.randn(6, 40, 100)
    theta([(cuts, torch.randn(5, 40, 100))])
    theta([(cuts, cuts)])
    assert made == []
    cuts[3] = cuts[4] + 0.01 * torch.randn(40, 100)
    theta([(cuts, cuts)])
    assert made == [(2, 2)]


def test_samples_beyond_one_tile_count_as_any(monkeypatch):
    torch.manual_seed(0)
    first, second = torch.randn(3, 20, 10), torch.randn(2, 20, 10)
    whole = pair_sums(first, second, squares=True)
    monkeypatch.setattr(divergence, "TILE_BYTES", 4 * 5 * 10 * 7)  # 7 samples, so the last has 6
    for part, wanted in zip(pair_sums(first, second, squares=True), whole):
        assert torch.allclose(part, wanted, rtol=1e-6)


def test_equal_predictions_are_at_distance_zero_and_nothing_is_below():
    logits = torch.randn(5, 100, 7)
    actual = theta([(logits, logits)])
    assert (actual.diagonal() == 0).all()
    assert theta([(logits, logits.clone())]).diagonal().abs().max() < 1e-12
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
            assert actual["entropy"][block, i] == pytest.approx(entropy, rel=1e-4, abs=1e-6)
            for j in range(2):
                kl = (p[i, here] * np.log(p[i, here] / q[j, here])).sum()
                squares = ((p[i, here] - q[j, here]) ** 2).mean(1).sum()
                assert actual["kl"][block, i, j] == pytest.approx(kl, rel=1e-4, abs=1e-9)
                assert actual["squares"][block, i, j] == pytest.approx(squares, rel=1e-4, abs=1e-9)


def _resized(chances, grid):
    """(n, h, w, C) probabilities averaged over the cells of a grid that divides theirs."""
    n, height, width, classes = chances.shape
    h, w = grid
    return chances.reshape(n, h, height // h, w, width // w, classes).mean((2, 4))


def test_of_cells_it_is_the_mean_over_those_of_the_coarser_grid():
    """Against the definition in float64, pair by pair, between and within networks."""
    generator = torch.Generator().manual_seed(0)
    grids = [(4, 6), (4, 6), (2, 3)], [(4, 6), (2, 3), (1, 1)]
    first, second = (
        [3 * torch.randn(5, *grid, 4, generator=generator) for grid in side] for side in grids
    )
    for others in (second, first):
        sums = sums_of_cuts(first, others, squares=True)
        for i, a in enumerate(first):
            for j, b in enumerate(others):
                grid = min(tuple(a.shape[1:3]), tuple(b.shape[1:3]))
                p, q = (_resized(x.double().softmax(-1), grid).numpy() for x in (a, b))
                cells = grid[0] * grid[1]
                kl = (p * (np.log(p) - np.log(q))).sum() / cells
                assert float(sums.kl[i, j]) == pytest.approx(kl, rel=1e-4, abs=1e-9)
                entropy = -(p * np.log(p)).sum() / cells
                assert float(sums.entropy[i, j]) == pytest.approx(entropy, rel=1e-4)
                squares = np.square(p - q).sum() / cells
                assert float(sums.squares[i, j]) == pytest.approx(squares, rel=1e-4, abs=1e-9)
