"""The scores of a pair's candidates, from sums over blocks of validation samples.

Every score is a quotient of sums, so drawing blocks anew (a bootstrap) gives it anew: each
function here takes weights of the blocks, and ones give the score itself. Lower is better.

The paper does not define its rivals MSE, CE and DM; the readings here are ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SIGMA_FLOOR = 1e-8
"""Below this Σ the block that follows does nothing measurable, and Γ is infinite."""

SCORES = ("kl", "theta", "cka", "mse", "ce", "dm")
"""What is computed of every candidate; ``random`` needs no computing and ``snnet`` is a set."""


@dataclass(frozen=True, kw_only=True)
class ScoreSums:
    """Sums over each of B blocks of validation samples, for a pair of depths n_f and n_g.

    Attributes:
        samples: (B,) how many there are in each block.
        kl: (B, n_f + 1, n_g + 1) of D_KL(P_i^f ‖ P_j^g) in nats.
        target_kl: (B, n_g + 1, n_g + 1) of the target against itself.
        squares: (B, n_f + 1, n_g + 1) of the mean squared difference of probabilities.
        entropy: (B, n_f + 1) of the entropy of the source's probes in nats.
        hsic: (B, n_f + 1, n_g + 1) of HSIC₁ across, ``source_hsic`` (B, n_f + 1) and
            ``target_hsic`` (B, n_g + 1) of each cut with itself.
        residual: (B, N) of ‖T(A_i) − A_j‖² for the N candidates.
        spread: (B, N) of ‖A_j − mean‖².
    """

    samples: Floats
    kl: Floats
    target_kl: Floats
    squares: Floats
    entropy: Floats
    hsic: Floats
    source_hsic: Floats
    target_hsic: Floats
    residual: Floats
    spread: Floats


def gamma(theta: ArrayLike, theta_target: ArrayLike) -> Floats:
    """Γ(i, j) = Θ(P_i^f, P_j^g) / Θ(P_j^g, P_{j+1}^g) (poster, step 2); lower is better.

    Args:
        theta: (…, n_f + 1, n_g + 1), source cut × target cut, in nats.
        theta_target: (…, n_g + 1, n_g + 1), the target against itself, in nats.

    Returns:
        (…, n_f + 1, n_g): every source cut against the target cuts 0..n_g − 1, which are those
        that a block follows; ``inf`` where Σ < 1e-8.
    """
    omega = np.asarray(theta, dtype=np.float64)[..., :-1]
    sigma = np.diagonal(np.asarray(theta_target, np.float64), offset=1, axis1=-2, axis2=-1)
    sigma = sigma[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sigma < SIGMA_FLOOR, np.inf, omega / sigma)


def cka(hsic: Floats, source_hsic: Floats, target_hsic: Floats) -> Floats:
    """Linear CKA from sums of HSIC₁ over chunks (Nguyen et al., 2021, eq. 3).

    Args:
        hsic: (…, I, J); ``source_hsic`` (…, I) and ``target_hsic`` (…, J) of a cut with itself.

    Returns:
        (…, I, J); 0 where a cut does not vary, so that nothing is known of its likeness.
    """
    norm = np.maximum(source_hsic, 0)[..., :, None] * np.maximum(target_hsic, 0)[..., None, :]
    found = np.zeros_like(hsic)
    np.divide(hsic, np.sqrt(norm), out=found, where=norm > 0)
    return found


def dm(residual: Floats, spread: Floats) -> Floats:
    """Direct matching: Σ ‖T(a_i) − a_j‖² / Σ ‖a_j − mean‖², T by least squares; each (…).

    0 is an exact match, 1 no better than the target's mean; worse than that is possible. Where
    the target's activations do not vary it is infinite, or 0 where T gives just these.
    """
    found = np.where(residual > 0, np.inf, 0.0)
    np.divide(residual, spread, out=found, where=spread > 0)
    return found


def candidate_scores(
    sums: ScoreSums, stitches: NDArray[np.int64], weights: Floats | None = None
) -> dict[str, Floats]:
    """Every score of every candidate, for one or many weightings of the blocks.

    ``kl`` is Γ; ``theta`` is Ω alone; ``cka`` is 1 − CKA; ``mse`` the mean squared difference of
    the probes' probabilities; ``ce`` the cross-entropy of the target's probe under the
    source's, H(P_i^f) + Ω; ``dm`` is direct matching.

    Args:
        stitches: (N, 2), i and j.
        weights: (…, B); ones by default.

    Returns:
        by name, (…, N).
    """
    w = np.ones(len(sums.samples)) if weights is None else weights
    i, j = stitches.T

    def total(values: Floats) -> Floats:
        return np.asarray(np.tensordot(w, values, axes=1))

    count = total(sums.samples)[..., None]
    omega = total(sums.kl) / count[..., None]
    likeness = cka(total(sums.hsic), total(sums.source_hsic), total(sums.target_hsic))
    return {
        "kl": gamma(omega, total(sums.target_kl) / count[..., None])[..., i, j],
        "theta": omega[..., i, j],
        "cka": 1 - likeness[..., i, j],
        "mse": total(sums.squares)[..., i, j] / count,
        "ce": total(sums.entropy)[..., i] / count + omega[..., i, j],
        "dm": dm(total(sums.residual), total(sums.spread)),
    }
