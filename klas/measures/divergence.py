"""How far the predictions at two cuts differ, for all pairs of cuts at once: Θ and its rivals.

Sums are kept per block of samples, so that their uncertainty can be computed afterwards.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK_SAMPLES = 500
CHUNK_BYTES = 2**25  # of all predictions for one chunk; a handful of such arrays exist at a time

Bounds = list[tuple[int, int, int]]
"""(start, stop, block) of consecutive samples that are worked on together."""


def sum_dtype(device: torch.device) -> torch.dtype:
    """The widest float that the device has: sums are kept in it."""
    return torch.float32 if device.type == "mps" else torch.float64


def chunk_rows(predictions: int, classes: int) -> int:
    """How many samples make a chunk, so that memory depends on none of these numbers.

    Args:
        predictions: I + J, the number of probes that are compared.
        classes: C.
    """
    return max(1, min(CHUNK_SAMPLES, CHUNK_BYTES // (8 * predictions * classes)))


def chunk_bounds(blocks: NDArray[np.int64], rows: int) -> Bounds:
    """Chunks of at most ``rows`` consecutive samples, none of which crosses into another block.

    Args:
        blocks: (N,) the block of every sample, in runs.
        rows: the most samples of a chunk.

    Examples:
        >>> chunk_bounds(np.array([0, 0, 0, 1]), rows=2)
        [(0, 2, 0), (2, 3, 0), (3, 4, 1)]
    """
    starts = np.flatnonzero(np.diff(blocks, prepend=-1)).tolist()
    return [
        (first, min(first + rows, stop), int(blocks[start]))
        for start, stop in zip(starts, [*starts[1:], len(blocks)])
        for first in range(start, stop, rows)
    ]


def kl_sums(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Σ_x D_KL(P_i(x) ‖ Q_j(x)) in nats, for every i and j (poster, the definition of Θ).

    Args:
        log_p: (I, N, C) log-probabilities of the first network's probes, normalised over C.
        log_q: (J, N, C) of the second network's.

    Returns:
        (I, J), never below 0. Two reductions and one matrix product, since
        Σ p_i (log p_i − log q_j) = Σ p_i log p_i − Σ p_i log q_j. Both logs are first taken
        relative to their mean over all cuts: it drops out, and with it most of what would
        cancel where the predictions are alike.

    Examples:
        Three samples whose probabilities (2/3, 1/3) are the other way round in the second:

        >>> log_p = torch.tensor([2 / 3, 1 / 3]).log().expand(1, 3, 2)
        >>> kl_sums(log_p, log_p.flip(-1))  # 3 · (2/3 − 1/3) ln 2
        tensor([[0.6931]])
    """
    reference = (log_p.sum(0) + log_q.sum(0)) / (len(log_p) + len(log_q))  # (N, C)
    p = log_p.exp().flatten(1)  # (I, N·C)
    own = (p * (log_p - reference).flatten(1)).sum(1)  # (I,)
    cross = p @ (log_q - reference).flatten(1).T  # (I, J)
    # Exact zero for equal predictions comes out as ±1e-17.
    return (own[:, None] - cross).clamp_min(0)


def square_sums(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Σ_x mean_c (P_i(x) − Q_j(x))², for every i and j: (I, J), never below 0.

    Our reading of the paper's rival MSE.

    Args:
        log_p, log_q: as for :func:`kl_sums`.

    Examples:
        >>> log_p = torch.tensor([0.75, 0.25]).log().expand(1, 3, 2)
        >>> square_sums(log_p, log_p.flip(-1))  # 3 · 0.5²
        tensor([[0.7500]])
    """
    p, q = log_p.exp().flatten(1), log_q.exp().flatten(1)
    squares = p.square().sum(1)[:, None] + q.square().sum(1) - 2 * p @ q.T
    return squares.clamp_min(0) / log_p.shape[-1]


def entropy_sums(log_p: Tensor) -> Tensor:
    """Σ_x H(P_i(x)) in nats, for every i: (I,), from log-probabilities (I, N, C)."""
    return -(log_p.exp() * log_p).sum((1, 2))


def prediction_sums(
    batches: Iterable[tuple[Tensor, Tensor]], bounds: Bounds
) -> dict[str, NDArray[np.float64]]:
    """Sums over the samples of each of B blocks, from which the scores follow.

    Args:
        batches: pairs of the probes' logits ((I, n, C), (J, n, C)), one for each of ``bounds``.
        bounds: of :func:`chunk_bounds`.

    Returns:
        ``kl`` (B, I, J) of :func:`kl_sums`, ``squares`` (B, I, J) of :func:`square_sums`, and
        ``entropy`` (B, I) of :func:`entropy_sums`.
    """
    totals: dict[str, Tensor] = {}
    last = max(block for _, _, block in bounds)
    for (_, _, block), (first, second) in zip(bounds, batches):
        wide = sum_dtype(first.device)
        log_p, log_q = first.to(wide).log_softmax(-1), second.to(wide).log_softmax(-1)
        sums = {
            "kl": kl_sums(log_p, log_q),
            "squares": square_sums(log_p, log_q),
            "entropy": entropy_sums(log_p),
        }
        for name, values in sums.items():
            if name not in totals:
                totals[name] = values.new_zeros(last + 1, *values.shape)
            totals[name][block] += values
    return {name: total.cpu().double().numpy() for name, total in totals.items()}


def theta(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Θ(P_i, Q_j), the mean of D_KL over all samples: (I, J) in nats, float64 on the CPU.

    Args:
        batches: pairs of logits ((I, n, C), (J, n, C)) that together cover the samples once.

    Examples:
        The probabilities are (2/3, 1/3) and (1/3, 2/3), so Θ is (2/3 − 1/3) ln 2:

        >>> logits = torch.tensor([2.0, 1.0]).log().expand(1, 5, 2)
        >>> theta([(logits, logits.flip(-1))])
        tensor([[0.2310]], dtype=torch.float64)
    """
    total = torch.zeros((), dtype=torch.float64)
    count = 0
    for first, second in batches:
        wide = sum_dtype(first.device)
        sums = kl_sums(first.to(wide).log_softmax(-1), second.to(wide).log_softmax(-1))
        total = total + sums.cpu().double()
        count += first.shape[1]
    return total / count
