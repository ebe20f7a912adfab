"""Linear probes: what can be read from an activation by multinomial logistic regression.

The paper's probe is a 1×1 convolution followed by the mean over positions. Both are linear, so
it is the same as one linear map of the mean-pooled activation. That map is trained here to the
optimum of a convex problem, so that Γ measures the networks and not an optimiser.
Every sum over samples is taken in chunks, so memory does not grow with their number.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from klas.measures.divergence import sum_dtype
from klas.networks.batch_size import memory_budget_bytes
from klas.storage.arrays import chunks

GRADIENT_TOLERANCE = 1e-3
MAX_ITERATIONS = 500
CHUNK_BYTES = 2**24  # of one chunk's inputs or logits


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A trained probe: logits = (((features − mean) / std) · weightᵀ + bias) / temperature.

    Attributes:
        mean, std: (C,) of the training features.
        weight: (K, C) for K classes.
        bias: (K,).
        converged: whether the gradient's norm fell to the tolerance, relative to its norm at zero.
        temperature: what the logits are divided by.
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
        labels: (N,) their classes, or the shares (N, K) of each class in them.
    """
    wide = sum_dtype(logits.device)
    rows = _chunk_rows(logits.shape[1])

    def loss(log: float) -> float:
        temperature = math.exp(log)
        parts = zip(logits.split(rows), labels.split(rows))
        return sum(
            float(_summed_loss(part.to(wide) / temperature, classes)) for part, classes in parts
        )

    return math.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)


def train_probe(
    features: NDArray[np.float32],
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
        features: (N, C) pooled activations of one cut; a mapped file is read in chunks.
        labels: (N,) class numbers below ``classes``, or (N, K) the shares of each class in a unit,
            on the device that is to do the work. Where shares add up to less than 1 the unit counts
            less.
        classes: K.
        l2: the weight of ½‖W‖² beside the mean loss.
        tolerance: stop when the gradient's norm is this share of its norm at zero.
    """
    rows = _chunk_rows(max(classes, features.shape[1]))
    mean, std = mean_and_std(features, labels.device)

    def standardised() -> Iterator[tuple[Tensor, Tensor]]:
        for part, target in zip(_tensors(features, rows, labels.device), labels.split(rows)):
            yield (part - mean) / std, target

    # Features that fit in memory are kept between evaluations; otherwise each reads them again.
    kept: Iterable[tuple[Tensor, Tensor]] | None = None
    if features.nbytes <= memory_budget_bytes(labels.device):
        kept = list(standardised())
    weight = torch.zeros(classes, features.shape[1], device=labels.device, requires_grad=True)
    bias = torch.zeros(classes, device=labels.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=20,
        history_size=20,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def share(inputs: Tensor, target: Tensor) -> Tensor:
        # The products are float32, the sum over samples is not: near the optimum the loss
        # changes by less than float32 resolves, and the line search would stop too early.
        logits = (inputs @ weight.T + bias).to(sum_dtype(labels.device))
        loss = _summed_loss(logits, target) / len(labels)
        loss.backward()
        return loss.detach()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = l2 / 2 * weight.square().sum()
        loss.backward()
        total = loss.detach()
        for inputs, target in kept or standardised():
            total = total + share(inputs, target)
        return total

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


def _summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of logits (n, K), added up, under classes (n,) or shares (n, K)."""
    wanted = targets.to(logits.dtype) if targets.is_floating_point() else targets
    return cross_entropy(logits, wanted, reduction="sum")


def mean_and_std(features: NDArray[np.float32], device: torch.device) -> tuple[Tensor, Tensor]:
    """(C,) each of features (N, C), float32; one that hardly varies has deviation 1.

    Each chunk's own are joined in the widest float: Σ n (s² + (m − mean)²) / N.
    """
    wide = sum_dtype(device)
    rows = _chunk_rows(features.shape[1])
    parts = [
        (len(part), part.mean(0).to(wide), part.std(0, correction=0).to(wide))
        for part in _tensors(features, rows, device)
    ]
    mean = torch.stack([n * m for n, m, _ in parts]).sum(0) / len(features)
    squares = torch.stack([n * (s.square() + (m - mean).square()) for n, m, s in parts])
    std = (squares.sum(0) / len(features)).sqrt().float()
    floor = 1e-6 * std.max().clamp_min(1e-30)
    return mean.float(), torch.where(std > floor, std, torch.ones_like(std))


def _tensors(features: NDArray[np.float32], rows: int, device: torch.device) -> Iterator[Tensor]:
    """Chunks (n, C) on the device."""
    for part in chunks(features, rows):
        yield torch.from_numpy(part).to(device)


def _chunk_rows(width: int) -> int:
    """How many rows of float64 values make a chunk."""
    return max(1, CHUNK_BYTES // (8 * width))
