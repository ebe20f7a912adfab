import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klas.selection.scores import SCORES, ScoreSums, candidate_scores, cka, dm, gamma, theta_ce

STITCHES = np.array([(1, 1), (2, 1), (1, 2), (2, 3)])


def test_gamma_divides_by_the_next_blocks_divergence():
    theta = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    target = np.array([[0.0, 0.5, 9.0], [9.0, 0.0, 0.25], [9.0, 9.0, 0.0]])
    assert gamma(theta, target).tolist() == [[2.0, 8.0], [8.0, 20.0]]


def test_gamma_is_infinite_where_the_next_block_does_nothing():
    target = np.array([[0.0, 9e-9], [1.0, 0.0]])
    assert np.isinf(gamma([[0.0, 1.0]], target)).all()


def test_cka_is_0_where_nothing_varies_and_1_of_a_cut_with_itself():
    actual = cka(np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([4.0, 0.0]), np.array([4.0, 9.0]))
    assert actual.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_direct_matching_of_what_does_not_vary():
    assert dm(np.array([2.0, 2.0, 0.0]), np.array([8.0, 0.0, 0.0])).tolist() == [0.25, np.inf, 0.0]


def test_theta_ce_of_probabilities_asks_for_agreement_and_for_something_to_say():
    p, q = np.array([0.98, 0.01, 0.01]), np.array([0.5, 0.25, 0.25])
    score = theta_ce(np.array((p * np.log(p / q)).sum()), np.array(-(p * np.log(q)).sum()))
    distance = 0.98 * np.log(0.98 / 0.5) + 0.02 * np.log(0.01 / 0.25)  # natural logarithms: nats
    entropy = -0.98 * np.log(0.98) - 0.02 * np.log(0.01)
    assert score == pytest.approx(np.sqrt(distance * (distance + entropy)))
    surer, vaguer = theta_ce(np.array([0.5, 0.5]), np.array([0.6, 2.0]))  # at the same distance
    assert surer < vaguer


def test_theta_ce_is_0_where_rounding_takes_omega_below_0():
    assert theta_ce(np.array([-1e-17, 0.0]), np.array([1.0, 0.0])).tolist() == [0.0, 0.0]


@given(st.floats(1e-9, 50), st.floats(0, 7))
def test_theta_ce_lies_between_omega_and_ce(omega, entropy):
    score = theta_ce(np.array(omega), np.array(omega + entropy))
    assert omega * (1 - 1e-9) <= score <= (omega + entropy) * (1 + 1e-9)


def sums(seed, blocks=5):
    rng = np.random.default_rng(seed)
    n_f, n_g = 3, 5  # cuts
    return ScoreSums(
        samples=rng.integers(3, 9, blocks).astype(float),
        kl=rng.random((blocks, n_f, n_g)),
        target_kl=rng.random((blocks, n_g, n_g)),
        squares=rng.random((blocks, n_f, n_g)),
        entropy=rng.random((blocks, n_f)),
        hsic=rng.normal(size=(blocks, n_f, n_g)),
        source_hsic=rng.random((blocks, n_f)),
        target_hsic=rng.random((blocks, n_g)),
        residual=rng.random((blocks, len(STITCHES))),
        spread=rng.random((blocks, len(STITCHES))),
    )


def slowly(s, weights, row):
    """One candidate, one weighting, as the definitions say it."""
    i, j = STITCHES[row]
    n = sum(w * k for w, k in zip(weights, s.samples))

    def total(values):
        return sum(w * v for w, v in zip(weights, values))

    omega = total(s.kl[:, i, j]) / n
    norm = np.sqrt(total(s.source_hsic[:, i]) * total(s.target_hsic[:, j]))
    return {
        "kl": omega / (total(s.target_kl[:, j, j + 1]) / n),
        "theta": omega,
        "theta_ce": (omega * (total(s.entropy[:, i]) / n + omega)) ** 0.5,
        "cka": 1 - total(s.hsic[:, i, j]) / norm,
        "mse": total(s.squares[:, i, j]) / n,
        "ce": total(s.entropy[:, i]) / n + omega,
        "dm": total(s.residual[:, row]) / total(s.spread[:, row]),
    }


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_every_score_under_every_weighting_is_its_definition(seed):
    s = sums(seed)
    weights = np.random.default_rng(seed).integers(1, 4, (3, 5))
    actual = candidate_scores(s, STITCHES, weights.astype(float))
    plain = candidate_scores(s, STITCHES)
    assert set(actual) == set(SCORES)
    for row in range(len(STITCHES)):
        for name, wanted in slowly(s, np.ones(5), row).items():
            assert plain[name][row] == pytest.approx(wanted)
        for k, weighting in enumerate(weights):
            for name, wanted in slowly(s, weighting, row).items():
                assert actual[name][k, row] == pytest.approx(wanted)
