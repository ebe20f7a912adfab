import numpy as np

from klas.choice.scores import gamma, pair_scores


def test_gamma_divides_by_the_next_blocks_divergence():
    theta = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    target = np.array([[0.0, 0.5, 9.0], [9.0, 0.0, 0.25], [9.0, 9.0, 0.0]])
    assert gamma(theta, target).tolist() == [[2.0, 8.0], [8.0, 20.0]]


def test_gamma_is_infinite_where_the_next_block_does_nothing():
    target = np.array([[0.0, 9e-9], [1.0, 0.0]])
    assert np.isinf(gamma([[0.0, 1.0]], target)).all()


def test_theta_is_offered_as_a_score_of_its_own():
    scores = pair_scores([[3.0, 7.0]], [[0.0, 2.0], [1.0, 0.0]])
    assert scores["theta"].tolist() == [[3.0]]
    assert scores["kl"].tolist() == [[1.5]]
