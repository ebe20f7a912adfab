"""The stitch score Γ and its controls, from the Θ matrices of one pair."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIGMA_FLOOR = 1e-8
"""Below this Σ the block that follows does nothing measurable, and Γ is infinite."""


def gamma(theta: ArrayLike, theta_target: ArrayLike) -> NDArray[np.float64]:
    """Γ(i, j) = Θ(P_i^f, P_j^g) / Θ(P_j^g, P_{j+1}^g) (poster, step 2); lower is better.

    Args:
        theta: (n_f + 1, n_g + 1), source cut × target cut, in nats.
        theta_target: (n_g + 1, n_g + 1), the target against itself, in nats.

    Returns:
        (n_f + 1, n_g): every source cut against the target cuts 0..n_g − 1, which are those
        that a block follows; ``inf`` where Σ < 1e-8.
    """
    omega = np.asarray(theta, dtype=np.float64)[:, :-1]
    sigma = np.diagonal(np.asarray(theta_target, dtype=np.float64), offset=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sigma < SIGMA_FLOOR, np.inf, omega / sigma)


def pair_scores(theta: ArrayLike, theta_target: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Every score there is for a pair, each (n_f + 1, n_g): ``kl`` is Γ, ``theta`` Ω alone."""
    omega = np.asarray(theta, dtype=np.float64)[:, :-1]
    return {"kl": gamma(theta, theta_target), "theta": omega.copy()}
