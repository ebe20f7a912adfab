"""How far the predictions at two cuts differ, for all pairs of cuts at once: Θ and its rivals.

Sums are kept per block of samples, so that their uncertainty can be computed afterwards.

A chunk's sums are made of float32 products first, which takes a third of the time of float64: of
that time the product of all pairs has a third, the exponentials of the softmaxes half. What
float32 may have spoilt is known from the sums themselves (:func:`_doubtful`) and made again in
float64: neighbouring cuts whose predictions are much alike, as a rule.
"""

from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

CHUNK_SAMPLES = 500
CHUNK_BYTES = 2**25  # of all predictions for one chunk; a handful of such arrays exist at a time
TILE_BYTES = 2**21  # of the predictions that the CPU works on at a time, so that its cache has them
TOLERANCE = 1e-4  # the greatest relative error of a sum
ROUNDING = 12 * 2.0**-24  # of one float32 product; up to 6 times 2⁻²⁴ was met

Cuts = Sequence[Tensor] | Tensor
"""Logits at every cut."""

Bounds = list[tuple[int, int, int]]
"""(start, stop, block) of consecutive samples that are worked on together."""


def sum_dtype(device: torch.device) -> torch.dtype:
    """The widest float that the device has: sums are kept in it."""
    return torch.float32 if device.type == "mps" else torch.float64


def widened(values: Tensor) -> Tensor:
    """In float64; a device that has none hands its values to the CPU."""
    has_float64 = sum_dtype(values.device) == torch.float64
    return values.to(values.device if has_float64 else "cpu", torch.float64)


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


class Sums(NamedTuple):
    """Sums over the samples of a chunk, float64; the last two are None where they aren't wanted.

    Attributes:
        kl: (I, J) Σ_x D_KL(P_i(x) ‖ Q_j(x)) in nats (poster, the definition of Θ).
        entropy: (I,) Σ_x H(P_i(x)) in nats.
        squares: (I, J) Σ_x ‖P_i(x) − Q_j(x)‖², never below 0 as ``kl``.
        lengths: (I, J) Σ_x ‖P_i(x)‖² + ‖Q_j(x)‖².
    """

    kl: Tensor
    entropy: Tensor
    squares: Tensor | None
    lengths: Tensor | None


def pair_sums(first: Tensor, second: Tensor, *, squares: bool = False) -> Sums:
    """What the scores follow from, for every i and j, to 1e-4 of the float64 values or better.

    Args:
        first: (I, n, C) logits of the first network's probes.
        second: (J, n, C) of the second's; the same tensor where a network is compared with itself.
        squares: whether those are wanted too.

    Examples:
        Three samples whose probabilities (2/3, 1/3) are the other way round in the second:

        >>> logits = torch.tensor([2.0, 1.0]).log().expand(1, 3, 2)
        >>> pair_sums(logits, logits.flip(-1)).kl  # 3 · (2/3 − 1/3) ln 2
        tensor([[0.6931]], dtype=torch.float64)
    """
    sums = _float32_sums(first, second, squares=squares)
    doubtful = _doubtful(sums, first.shape[1])
    if second is first:  # a cut is at distance 0 from itself
        for matrix in (sums.kl, sums.squares, doubtful):
            if matrix is not None:
                matrix.fill_diagonal_(0)
    if doubtful.any():
        rows, columns = (doubtful.any(axis).nonzero().flatten() for axis in (1, 0))
        log_p = widened(first[rows.to(first.device)]).log_softmax(-1)
        log_q = widened(second[columns.to(first.device)]).log_softmax(-1)
        sums.kl[rows[:, None], columns] = _kl_of_logs(log_p, log_q)
        if sums.squares is not None:
            sums.squares[rows[:, None], columns] = _squares_of_logs(log_p, log_q)
    return sums


def _float32_sums(first: Tensor, second: Tensor, *, squares: bool) -> Sums:
    """One product for all pairs: Σ p_i (log p_i − log q_j) = Σ p_i log p_i − Σ p_i log q_j.

    The logs are taken relative to the mean of log q over its cuts: it drops out, and with it most
    of what would cancel where predictions are alike. Products are of one sample each, in float32;
    the sums over samples are float64.
    """
    n, classes = first.shape[1:]
    cuts, others = len(first), len(second)
    cache = TILE_BYTES // (4 * (cuts + others) * classes)
    tile = n if first.is_cuda else min(n, max(1, cache))
    # Where each tile makes tensors of its own, the system gives and takes back their memory each
    # time, which takes longer than all that is computed in them.
    all_p = first.new_empty(cuts, tile, classes)
    all_q = first.new_empty(others * (1 + squares), tile, classes)  # log q, and q
    space = first.new_empty(max(cuts, others), tile, classes)
    total: list[Tensor] = []
    for x, y in zip(first.split(tile, 1), second.split(tile, 1)):
        p, columns, scratch = (part[:, : x.shape[1]] for part in (all_p, all_q, space))
        log_q, q = columns[:others], columns[others:]
        y = scratch[:others].copy_(y)  # lies in one piece now, as softmax wants it
        torch.log_softmax(y, -1, out=log_q)
        if squares:
            torch.softmax(y, -1, out=q)
        reference = log_q.mean(0)  # (tile, C)
        log_q -= reference
        x = scratch[:cuts].copy_(x)
        torch.softmax(x, -1, out=p)
        # log p = x − max x + log max p, since the largest term of softmax's sum is 1.
        x -= x.amax(-1, keepdim=True)
        negative_entropy = x.mul_(p).sum(-1) + p.amax(-1).log()  # (I, tile)
        own = negative_entropy - torch.mul(p, reference, out=x).sum(-1)
        products = p.transpose(0, 1) @ columns.permute(1, 2, 0)  # (tile, I, J or 2 J)
        part = [own.T[:, :, None] - products[..., :others], -negative_entropy.T]
        if squares:
            a, b = (torch.linalg.vector_norm(each, dim=-1).square().T for each in (p, q))
            lengths = a[:, :, None] + b[:, None]
            part += [lengths - 2 * products[..., others:], lengths]
        summed = [widened(values).sum(0) for values in part]
        total = list(map(torch.add, total, summed)) if total else summed
    kl, entropy, *rest = total
    if not squares:
        return Sums(kl.clamp_min(0), entropy, None, None)
    return Sums(kl.clamp_min(0), entropy, rest[0].clamp_min(0), rest[1])


def _doubtful(sums: Sums, n: int) -> Tensor:
    """(I, J) where float32's rounding may be more than the tolerance, from the sums themselves.

    The product adds up p_i |log q_j − r|, r the reference: at most Σ p_i |log p_i − log q_j| and
    Σ p_i |log p_i − r|. For any two distributions the first is at most g(D) = D + √(2 D), by
    Pinsker's inequality; the second at most the mean of the first over j, so at most g of D's mean.
    Logs are as large as the cross-entropy, H + D, and each softmax's own sum is as large as 1.
    Roots of means over the n samples are at least the means of the roots.
    """
    mean = sums.kl.mean(1, keepdim=True)
    roots = (2 * n * sums.kl).sqrt() + (2 * n * mean).sqrt()
    size = n + sums.entropy[:, None] + 2 * sums.kl + mean + roots
    doubtful = ROUNDING * size > TOLERANCE * sums.kl
    if sums.squares is not None and sums.lengths is not None:
        doubtful |= ROUNDING * sums.lengths > TOLERANCE * sums.squares
    return doubtful


def _kl_of_logs(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(I, J) as in :class:`Sums`, of float64 log-probabilities (I, n, C) and (J, n, C)."""
    reference = log_q.mean(0)
    p = log_p.exp().flatten(1)  # (I, n·C)
    own = (p * (log_p - reference).flatten(1)).sum(1)  # (I,)
    cross = p @ (log_q - reference).flatten(1).T  # (I, J)
    # Exact zero for equal predictions comes out as ±1e-17.
    return (own[:, None] - cross).clamp_min(0)


def _squares_of_logs(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The same for the squares."""
    p, q = log_p.exp().flatten(1), log_q.exp().flatten(1)
    return (p.square().sum(1)[:, None] + q.square().sum(1) - 2 * p @ q.T).clamp_min(0)


def sums_of_cuts(first: Cuts, second: Cuts, *, squares: bool = False) -> Sums:
    """:func:`pair_sums` of predictions for whole samples, or for the cells of grids.

    Of cells it is the mean over them. Where two cuts have different grids, the probabilities of the
    finer one are averaged over the cells of the coarser one, as T runs on the coarser of two grids:
    so they say what is in those cells. What P_i is there, and so its entropy, depends on the other
    cut.

    Args:
        first: I cuts' logits, each (n, C), or (n, h, w, C) where there is a prediction for each of
            h · w cells.
        second: J cuts' likewise; the same list where a network is compared with itself.

    Returns:
        The sums; of cells, ``entropy`` is (I, J).
    """
    if first[0].dim() == 2:
        stacked = torch.stack(list(first))
        other = stacked if second is first else torch.stack(list(second))
        return pair_sums(stacked, other, squares=squares)
    names = ("kl", "entropy", "squares", "lengths") if squares else ("kl", "entropy")
    shape = len(first), len(second)
    whole = {name: torch.zeros(shape, dtype=torch.float64) for name in names}
    for have, rows in _by_grid(first):
        for want, columns in _by_grid(second):
            grid = min(have, want, key=prod)
            p = torch.stack([_at_grid(first[k], grid) for k in rows])
            same = second is first and have == want
            q = p if same else torch.stack([_at_grid(second[k], grid) for k in columns])
            sums = pair_sums(p, q, squares=squares)._asdict()
            place = torch.tensor(rows)[:, None], torch.tensor(columns)
            for name, matrix in whole.items():
                values = sums[name].cpu() / prod(grid)
                matrix[place] = values if values.dim() == 2 else values[:, None]
    return Sums(whole["kl"], whole["entropy"], whole.get("squares"), whole.get("lengths"))


def _by_grid(cuts: Cuts) -> list[tuple[tuple[int, int], list[int]]]:
    """Each grid, and the numbers of the cuts that have it."""
    numbers: dict[tuple[int, int], list[int]] = {}
    for k, logits in enumerate(cuts):
        numbers.setdefault((logits.shape[1], logits.shape[2]), []).append(k)
    return list(numbers.items())


def _at_grid(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """(n · h · w, C) logits of the mean probabilities in the cells of a grid."""
    if logits.shape[1:3] != torch.Size(grid):
        chances = widened(logits).softmax(-1).permute(0, 3, 1, 2)
        chances = adaptive_avg_pool2d(chances, grid).permute(0, 2, 3, 1)
        tiny = torch.finfo(chances.dtype).tiny
        logits = chances.clamp_min(tiny).log().to(logits.device, logits.dtype)
    return logits.flatten(0, 2)


def prediction_sums(
    batches: Iterable[tuple[Cuts, Cuts]], bounds: Bounds
) -> dict[str, NDArray[np.float64]]:
    """Sums over the samples of each of B blocks, from which the scores follow.

    Args:
        batches: pairs of the probes' logits as :func:`sums_of_cuts` takes them, one for each of
            ``bounds``.
        bounds: of :func:`chunk_bounds`.

    Returns:
        ``kl`` (B, I, J) and ``entropy`` (B, I), or (B, I, J) of cells, of :class:`Sums`, and
        ``squares`` (B, I, J), which are means over the classes, our reading of the paper's rival
        MSE.
    """
    totals: dict[str, Tensor] = {}
    last = max(block for _, _, block in bounds)
    for (_, _, block), (first, second) in zip(bounds, batches):
        made = sums_of_cuts(first, second, squares=True)
        assert made.squares is not None
        sums = {
            "kl": made.kl,
            "squares": made.squares / first[0].shape[-1],
            "entropy": made.entropy,
        }
        for name, values in sums.items():
            if name not in totals:
                totals[name] = values.new_zeros(last + 1, *values.shape)
            totals[name][block] += values
    return {name: total.cpu().numpy() for name, total in totals.items()}


def theta(batches: Iterable[tuple[Cuts, Cuts]]) -> Tensor:
    """Θ(P_i, Q_j), the mean of D_KL over all samples: (I, J) in nats, float64 on the CPU.

    Args:
        batches: pairs of logits as :func:`sums_of_cuts` takes them, that together cover the samples
            once.

    Examples:
        The probabilities are (2/3, 1/3) and (1/3, 2/3), so Θ is (2/3 − 1/3) ln 2:

        >>> logits = torch.tensor([2.0, 1.0]).log().expand(1, 5, 2)
        >>> theta([(logits, logits.flip(-1))])
        tensor([[0.2310]], dtype=torch.float64)
    """
    total = torch.zeros((), dtype=torch.float64)
    count = 0
    for first, second in batches:
        total = total + sums_of_cuts(first, second).kl.cpu()
        count += len(first[0])
    return total / count
