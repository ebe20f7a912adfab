"""The scores of a pair's candidates, from sums over blocks of validation samples.

Every score is a quotient of sums, so a bootstrap needs nothing but weights of the blocks: how
often each was drawn. With weights of one the result is the score itself. Lower is better.

The paper does not define its rivals MSE, CE and DM; the readings here are ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SIGMA_FLOOR = 1e-8
"""Below this Σ the block that follows does nothing measurable, and Γ is infinite."""

CKA_SAMPLES = 4
"""The fewest samples that HSIC₁ is defined for; with fewer there is no CKA."""

SCORES = ("kl", "theta", "theta_ce", "cka", "mse", "ce", "dm")
"""What is computed for every candidate; ``random`` needs no computing and ``snnet`` is a set."""


@dataclass(frozen=True, kw_only=True)
class ScoreSums:
    """Sums over each of B blocks of validation samples, for a pair of depths n_f and n_g.

    Attributes:
        samples: (B,) how many there are in each block.
        kl: (B, n_f + 1, n_g + 1) of D_KL(P_i^f ‖ P_j^g) in nats.
        target_kl: (B, n_g + 1, n_g + 1) of the target against itself, in nats.
        squares: (B, n_f + 1, n_g + 1) of the mean squared difference of probabilities.
        entropy: (B, n_f + 1) of the entropy of the source's probes in nats; (B, n_f + 1, n_g + 1)
            where what they are compared as depends on the target's cut.
        hsic: (B, n_f + 1, n_g + 1) of (n − 3) HSIC₁ of a source cut with a target cut, over
            chunks of n samples.
        source_hsic: (B, n_f + 1) the same of each source cut with itself.
        target_hsic: (B, n_g + 1) the same of each target cut with itself.
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

    Examples:
        >>> theta = [[8.0, 9.0, 7.0], [6.0, 3.0, 7.0]]  # cuts 0..1 of f, cuts 0..2 of g
        >>> theta_target = [[0.0, 2.0, 5.0], [2.0, 0.0, 3.0], [5.0, 3.0, 0.0]]  # Σ = 2, 3
        >>> gamma(theta, theta_target)
        array([[4., 3.],
               [3., 1.]])
    """
    omega = np.asarray(theta, dtype=np.float64)[..., :-1]
    sigma = np.diagonal(np.asarray(theta_target, np.float64), offset=1, axis1=-2, axis2=-1)
    sigma = sigma[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sigma < SIGMA_FLOOR, np.inf, omega / sigma)


def cka(hsic: Floats, source_hsic: Floats, target_hsic: Floats) -> Floats:
    """Linear CKA from weighted sums of HSIC₁ over chunks (Nguyen et al., 2021, eq. 3).

    Args:
        hsic: (…, I, J) of every source cut with every target cut.
        source_hsic: (…, I) of each source cut with itself.
        target_hsic: (…, J) of each target cut with itself.

    Returns:
        (…, I, J), 1 where two cuts are alike; 0 where a cut does not vary, so that it cannot be
        compared.

    Examples:
        >>> cka(np.array([[1.0, 0.0]]), np.array([4.0]), np.array([1.0, 9.0]))
        array([[0.5, 0. ]])
    """
    norm = np.maximum(source_hsic, 0)[..., :, None] * np.maximum(target_hsic, 0)[..., None, :]
    likeness = np.zeros_like(hsic)
    np.divide(hsic, np.sqrt(norm), out=likeness, where=norm > 0)
    return likeness


def dm(residual: Floats, spread: Floats) -> Floats:
    """Direct matching: Σ ‖T(a_i) − a_j‖² / Σ ‖a_j − mean‖², T by least squares; each (…).

    0 is an exact match, 1 is no better than the target's mean, and worse than that is possible.
    Where the target's activations do not vary it is infinite, or 0 if T gives exactly these.

    Examples:
        >>> dm(np.array([3.0, 0.0, 1.0]), np.array([4.0, 0.0, 0.0]))
        array([0.75, 0.  ,  inf])
    """
    score = np.where(residual > 0, np.inf, 0.0)
    np.divide(residual, spread, out=score, where=spread > 0)
    return score


def theta_ce(omega: Floats, cross_entropy: Floats) -> Floats:
    """√(Ω·CE), the geometric mean of Ω and the cross-entropy of the two probes, in nats; each (…).

    CE = Ω + H(P_i^f), so it is low where the target reads what the source says (Ω) and the source
    has something to say (H): early in the source probes are unsure of everything, and Ω alone is
    low between two that know nothing. It has no parameter.

    Examples:
        >>> theta_ce(np.array([1.0, 1.0, 0.0]), np.array([4.0, 1.0, 3.0]))
        array([2., 1., 0.])
    """
    return np.sqrt(np.maximum(omega * cross_entropy, 0))  # rounding may take Ω = 0 below 0


def candidate_scores(
    sums: ScoreSums, stitches: NDArray[np.int64], weights: Floats | None = None
) -> dict[str, Floats]:
    """Every score of every candidate, for one or many weightings of the blocks.

    ``kl`` is Γ; ``theta`` is Ω alone, in nats; ``theta_ce`` is √(Ω·CE), in nats; ``cka`` is
    1 − CKA; ``mse`` is the mean squared difference of the probes' probabilities; ``ce`` is the
    cross-entropy of the target's probe under the source's, H(P_i^f) + Ω, in nats; ``dm`` is direct
    matching.

    Args:
        sums: of the pair, by blocks.
        stitches: (N, 2), i and j of each candidate.
        weights: (…, B) how often each block counts; once by default.

    Returns:
        Each of `SCORES` by its name, (…, N); lower is better. ``cka`` is NaN with fewer than four
        samples.

    Examples:
        One block of four samples, and the one candidate (1, 1):

        >>> sums = ScoreSums(
        ...     samples=np.array([4.0]),
        ...     kl=np.full((1, 2, 3), 12.0),  # Ω = 12 / 4
        ...     target_kl=np.full((1, 3, 3), 8.0),  # Σ = 8 / 4
        ...     squares=np.full((1, 2, 3), 1.0),
        ...     entropy=np.full((1, 2), 36.0),  # H = 36 / 4, so CE = 12
        ...     hsic=np.full((1, 2, 3), 1.0),
        ...     source_hsic=np.full((1, 2), 2.0),
        ...     target_hsic=np.full((1, 3), 2.0),
        ...     residual=np.array([[3.0]]),
        ...     spread=np.array([[4.0]]),
        ... )
        >>> scores = candidate_scores(sums, np.array([[1, 1]]))
        >>> {name: float(score[0]) for name, score in scores.items()}
        {'kl': 1.5, 'theta': 3.0, 'theta_ce': 6.0, 'cka': 0.5, 'mse': 0.25, 'ce': 12.0, 'dm': 0.75}
    """
    w = np.ones(len(sums.samples)) if weights is None else weights
    i, j = stitches.T

    def total(values: Floats) -> Floats:
        return np.asarray(np.tensordot(w, values, axes=1))

    count = total(sums.samples)[..., None]
    omega = total(sums.kl) / count[..., None]
    across = omega[..., i, j]
    entropy = total(sums.entropy)
    entropy = entropy[..., i, j] if sums.entropy.ndim == 3 else entropy[..., i]
    cross_entropy = entropy / count + across
    likeness = cka(total(sums.hsic), total(sums.source_hsic), total(sums.target_hsic))
    if sums.samples.sum() < CKA_SAMPLES:
        likeness = np.full_like(likeness, np.nan)
    return {
        "kl": gamma(omega, total(sums.target_kl) / count[..., None])[..., i, j],
        "theta": across,
        "theta_ce": theta_ce(across, cross_entropy),
        "cka": 1 - likeness[..., i, j],
        "mse": total(sums.squares)[..., i, j] / count,
        "ce": cross_entropy,
        "dm": dm(total(sums.residual), total(sums.spread)),
    }
