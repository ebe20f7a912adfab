"""Θ: the mean KL divergence between predictions, for all pairs of cuts at once."""

from collections.abc import Iterable

import torch
from torch import Tensor

CHUNK_SAMPLES = 500
CHUNK_BYTES = 2**25  # of all predictions for one chunk; a handful of such arrays are held


def sum_dtype(device: torch.device) -> torch.dtype:
    """The widest float that the device has: sums are kept in it."""
    return torch.float32 if device.type == "mps" else torch.float64


def chunk_rows(predictions: int, classes: int) -> int:
    """How many samples make a chunk, so that memory depends on none of these numbers.

    Args:
        predictions: I + J, the kinds of predictions that are compared.
        classes: K.
    """
    return max(1, min(CHUNK_SAMPLES, CHUNK_BYTES // (8 * predictions * classes)))


def kl_sums(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Σ_x D_KL(P_i(x) ‖ Q_j(x)) in nats, for every i and j (poster, the definition of Θ).

    Args:
        log_p: (I, N, C) log-probabilities of the first kind of predictions, normalised over C.
        log_q: (J, N, C) of the second kind.

    Returns:
        (I, J). Two reductions and one matrix product, since
        Σ p_i (log p_i − log q_j) = Σ p_i log p_i − Σ p_i log q_j. Both logs are first taken
        relative to their mean over all cuts: it drops out, and with it most of what would
        cancel where the predictions are alike.
    """
    reference = (log_p.sum(0) + log_q.sum(0)) / (len(log_p) + len(log_q))  # (N, C)
    p = log_p.exp().flatten(1)  # (I, N·C)
    own = (p * (log_p - reference).flatten(1)).sum(1)  # (I,)
    cross = p @ (log_q - reference).flatten(1).T  # (I, J)
    return own[:, None] - cross


def theta(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Θ over all samples: (I, J) in nats, never below 0, float64 on the CPU.

    Args:
        batches: pairs of logits ((I, n, C), (J, n, C)) that together cover the samples once.
    """
    total = torch.zeros((), dtype=torch.float64)
    count = 0
    for first, second in batches:
        wide = sum_dtype(first.device)
        sums = kl_sums(first.to(wide).log_softmax(-1), second.to(wide).log_softmax(-1))
        total = total + sums.cpu().double()
        count += first.shape[1]
    # Exact zero on the diagonal of equal predictions comes out as ±1e-17.
    return (total / count).clamp_min(0)
