"""Linear CKA between any two cuts, from one sweep per anchor.

The unbiased minibatch estimator (Nguyen, Raghu, Kornblith 2021, equations 2 to 4): a ratio of
sums of HSIC₁ (Song et al. 2012) over chunks of samples. Since HSIC₁(K, L) = ⟨K̃, L̃⟩ / (n (n − 3))
with K̃ the U-centred Gram matrix (Székely and Rizzo 2014), only an anchor's small matrices K̃ have
to be kept: comparing two anchors needs no forward pass.

Nguyen's chunks are all of one size. Ours end in a shorter one, whose HSIC₁ is noisier the fewer
samples it has, so a chunk counts n − 3 times: with equal weights 516 samples give an estimate
three times as noisy as 512 do.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from klas.errors import AnchorError
from klas.measures.divergence import sum_dtype
from klas.measures.sweep import Append
from klas.networks.anchor import Anchor, AnchorInfo
from klas.selection.scores import CKA_SAMPLES
from klas.storage.arrays import Shapes, chunks

CHUNK = 64  # samples, whatever the forward batch: the estimate depends on it
TRIANGLE = CHUNK * (CHUNK - 1) // 2  # values of K̃ above its diagonal
TILE_BYTES = 2**21  # of the columns that the CPU multiplies at a time
ROWS_BYTES = 2**25  # of both anchors' K̃ in memory at a time


def chunk_sizes(samples: int) -> NDArray[np.int64]:
    """(chunks,) how many samples each chunk has; a last one of fewer than 4 is left out.

    Examples:
        >>> chunk_sizes(64 + 64 + 5)
        array([64, 64,  5])
        >>> chunk_sizes(64 + 3)
        array([64])
    """
    whole, rest = divmod(samples, CHUNK)
    return np.array([CHUNK] * whole + [rest] * (rest >= CKA_SAMPLES), dtype=np.int64)


def u_centred(gram: Tensor) -> Tensor:
    """K̃ of Gram matrices (…, n, n): its off-diagonal rows sum to 0, its diagonal is 0.

    Székely and Rizzo 2014, definition 2. Needs n > 2.

    Examples:
        Samples 0 and 1 are alike, and so are 2 and 3:

        >>> rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> (3 * u_centred(rows @ rows.T)).round()
        tensor([[ 0.,  2., -1., -1.],
                [ 2.,  0., -1., -1.],
                [-1., -1.,  0.,  2.],
                [-1., -1.,  2.,  0.]])
    """
    n = gram.shape[-1]
    diagonal = torch.eye(n, dtype=torch.bool, device=gram.device)
    gram = gram.masked_fill(diagonal, 0)
    rows = gram.sum(-1, keepdim=True) / (n - 2)  # (…, n, 1)
    total = rows.sum((-2, -1), keepdim=True) / (n - 1)  # (…, 1, 1)
    return (gram - rows - rows.mT + total).masked_fill(diagonal, 0)


class GramMatrices:
    """K̃ of every chunk of 64 consecutive samples at every cut: ``gram0`` … ``gramn``.

    Each row holds what lies above K̃'s diagonal, row by row; a shorter last chunk's row ends in
    zeros. Batches may begin and end anywhere: at most 63 samples a cut wait for their chunk.

    Raises (while the sweep goes on):
        AnchorError: a Gram matrix is not finite.
    """

    def __init__(self, anchor: Anchor, samples: int, append: Append) -> None:
        self._name = anchor.info.name
        self._samples = samples
        self._append = append
        self._seen = 0
        self._waiting: dict[int, Tensor] = {}  # cut → (CHUNK, D), the first ``seen % CHUNK`` filled
        # For each cut the batch's Gram matrices, (chunks, n, n) for every n among them.
        self._batch: list[list[Tensor]] = []

    @staticmethod
    def shapes(anchor: AnchorInfo, samples: int) -> Shapes:
        """Shapes and types of the arrays that it appends to."""
        shape = (len(chunk_sizes(samples)), TRIANGLE)
        return {f"gram{k}": (shape, np.dtype(np.float32)) for k in range(anchor.depth + 1)}

    def update_cut(self, cut: int, activation: Tensor) -> None:
        """Multiply out the chunks that are complete now."""
        rows = activation.flatten(1)  # (n, D)
        waiting = self._seen % CHUNK
        last = self._seen + len(rows) == self._samples
        complete = []
        if waiting:
            joining = rows[: CHUNK - waiting]
            rows = rows[len(joining) :]
            self._waiting[cut][waiting : waiting + len(joining)] = joining
            waiting += len(joining)
            if waiting == CHUNK:
                complete.append(_grams(self._waiting[cut][None]))
        whole = len(rows) // CHUNK * CHUNK
        if whole:  # where they lie, several at once
            complete.append(_grams(rows[:whole].unflatten(0, (-1, CHUNK))))
        rest = rows[whole:]
        if len(rest):
            if cut not in self._waiting:
                self._waiting[cut] = rest.new_empty(CHUNK, rest.shape[1])
            waiting = len(rest)
            self._waiting[cut][:waiting] = rest
        if last and CKA_SAMPLES <= waiting < CHUNK:
            complete.append(_grams(self._waiting[cut][None, :waiting]))
        self._batch.append(complete)

    def update_output(self, logits: Tensor, labels: Tensor) -> None:
        """Centre all cuts' matrices together and hand them over: one wait for the device."""
        self._seen += len(labels)
        alike = [torch.stack(grams) for grams in zip(*self._batch)]  # each (cuts, chunks, n, n)
        self._batch.clear()
        if not alike:
            return
        triangles = torch.cat([_triangles(grams) for grams in alike], 1).cpu().numpy()
        for cut, rows in enumerate(triangles):  # (chunks, TRIANGLE)
            # They fit float32 if a sample's norm is below 1e19, as any sane network's is.
            if not np.isfinite(rows).all():
                raise AnchorError(
                    f"{self._name}: the activations at cut {cut} are not finite or beyond all "
                    "bounds; its weights or its transform must be wrong"
                )
            self._append(f"gram{cut}", rows)


def _grams(rows: Tensor) -> Tensor:
    """Gram matrices (chunks, n, n) of activations (chunks, n, D), up to what U-centring removes.

    K̃ does not depend on a shift of all samples, and without it nothing cancels. The first sample
    is subtracted before the mean: then nothing at all is left of what is constant.

    On the CPU a few columns at a time, which its cache holds: three passes over a large activation
    take three times as long as the product.
    """
    chunks, n, width = rows.shape
    half = n // 2
    tile = width if rows.is_cuda else max(1, min(width, TILE_BYTES // (4 * chunks * n)))
    space = torch.empty(chunks, n, tile, device=rows.device)
    total = space.new_zeros(chunks, n, n)
    with torch.autocast(rows.device.type, enabled=False):  # the sweep's is only for the anchor
        for part in rows.split(tile, -1):
            part = part.float()
            columns = torch.sub(part, part[:, :1], out=space[..., : part.shape[-1]])
            columns -= columns.mean(1, keepdim=True)
            # What lies below the diagonal is not multiplied a second time, but for a quarter.
            total[:, :half] += columns[:, :half] @ columns.mT
            total[:, half:, half:] += columns[:, half:] @ columns[:, half:].mT
    total[:, half:, :half] = total[:, :half, half:].mT
    return total


def _triangles(grams: Tensor) -> Tensor:
    """K̃ above its diagonal, (…, TRIANGLE) float32, of Gram matrices (…, n, n)."""
    n = grams.shape[-1]
    row, column = torch.triu_indices(n, n, 1, device=grams.device)
    kept = u_centred(grams.to(sum_dtype(grams.device)))[..., row, column].float()
    return pad(kept, (0, TRIANGLE - kept.shape[-1]))


class CkaTerms(NamedTuple):
    """(n − 3) HSIC₁ chunk by chunk, float64; CKA is a ratio of their sums.

    Attributes:
        cross: (chunks, I, J) of every cut of the first anchor with every cut of the second.
        own_first: (chunks, I) of the first anchor's cuts with themselves.
        own_second: (chunks, J) of the second's.
    """

    cross: NDArray[np.float64]
    own_first: NDArray[np.float64]
    own_second: NDArray[np.float64]


def cka_terms(
    first: Sequence[NDArray[np.float32]], second: Sequence[NDArray[np.float32]], samples: int
) -> CkaTerms:
    """(n − 3) HSIC₁ of two anchors' cuts in every chunk (Nguyen et al. 2021, equation 3).

    Args:
        first: what :class:`GramMatrices` kept for I cuts of an anchor, each (chunks, 2016); may
            lie in mapped files, of which a few chunks are read at a time.
        second: the same for J cuts of the other, on the same samples in the same order.
        samples: how many samples there were.
    """
    n = chunk_sizes(samples).astype(np.float64)
    scale = 2 / n  # the triangle is half of the inner product, and a chunk counts n − 3 times
    cross = np.empty((len(n), len(first), len(second)))
    own_first, own_second = np.empty(cross.shape[:2]), np.empty(cross[:, 0].shape)
    rows = max(1, ROWS_BYTES // (8 * TRIANGLE * (len(first) + len(second))))
    parts_of_cuts = zip(*(chunks(array, rows) for array in (*first, *second)))
    for start, parts in zip(range(0, len(n), rows), parts_of_cuts):
        here = slice(start, start + rows)
        wide = np.stack(parts, 1).astype(np.float64)  # (rows, I + J, TRIANGLE)
        a, b = wide[:, : len(first)], wide[:, len(first) :]
        cross[here] = a @ b.mT * scale[here, None, None]
        own_first[here] = np.square(a).sum(2) * scale[here, None]
        own_second[here] = np.square(b).sum(2) * scale[here, None]
    return CkaTerms(cross, own_first, own_second)
