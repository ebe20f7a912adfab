"""Linear probes: what can be read from an activation by multinomial logistic regression.

The paper's probe is a 1×1 convolution followed by the mean over positions. Both are linear, so
it is the same as one linear map of the mean-pooled activation; that is what is trained here,
to the optimum of a convex problem, so that Γ measures the networks and not an optimiser.
"""

import math
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from klas.measures.divergence import sum_dtype

GRADIENT_TOLERANCE = 1e-3
MAX_ITERATIONS = 500


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A trained probe: logits = (((features − mean) / std) · weightᵀ + bias) / temperature.

    Attributes:
        mean, std: (C,) of the training features.
        weight: (K, C) for K classes.
        bias: (K,).
        converged: the gradient's norm fell to the tolerance, relative to its norm at zero.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    converged: bool
    temperature: float = 1.0

    def logits(self, features: Tensor) -> Tensor:
        """(N, C) pooled activations to (N, K)."""
        inputs = (features - self.mean) / self.std
        return (inputs @ self.weight.T + self.bias) / self.temperature


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the least cross-entropy on held-out units (Guo et al., 2017).

    Args:
        logits: (N, K) of a probe at temperature 1, on units that it was not trained on.
        labels: (N,).
    """
    wide = logits.to(sum_dtype(logits.device))
    found = minimize_scalar(
        lambda log: float(cross_entropy(wide / math.exp(log), labels)),
        bounds=(-4, 4),
        method="bounded",
    )
    return math.exp(found.x)


def train_probe(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    l2: float,
    tolerance: float = GRADIENT_TOLERANCE,
) -> Probe:
    """Minimise mean cross-entropy + l2/2 · ‖W‖² over standardised features; the bias is free.

    The optimum is that of scikit-learn's ``LogisticRegression(C=1/(N·l2))``. Full-batch L-BFGS
    with a strong-Wolfe line search, from zero.

    Args:
        features: (N, C) pooled activations of one cut.
        labels: (N,) class numbers below ``classes``.
        tolerance: stop when the gradient's norm is this share of its norm at zero.
    """
    features = features.float()
    mean = features.mean(0)
    std = features.std(0, correction=0)
    std = torch.where(std > 1e-6 * std.max().clamp_min(1e-30), std, torch.ones_like(std))
    inputs = (features - mean) / std
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=20,
        history_size=20,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        # The products are float32, the sum over samples is not: near the optimum the loss
        # changes by less than float32 can tell, and the line search would stop short.
        logits = (inputs @ weight.T + bias).to(sum_dtype(inputs.device))
        loss = cross_entropy(logits, labels) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    def gradient_norm() -> float:
        closure()
        assert weight.grad is not None
        assert bias.grad is not None
        return float(torch.cat([weight.grad.flatten(), bias.grad]).norm())

    goal = tolerance * gradient_norm()
    converged = False
    for _ in range(MAX_ITERATIONS // 20):
        optimizer.step(closure)
        if converged := gradient_norm() <= goal:
            break
    return Probe(
        mean=mean, std=std, weight=weight.detach(), bias=bias.detach(), converged=converged
    )
