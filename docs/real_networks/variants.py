"""What the paper leaves open, read in other ways: which comes closest to its figures?

MSE, CE and DM are not defined there, and the direction of Θ could be the other one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from klas.results.pair import Pair

if TYPE_CHECKING:
    from klas.pipeline.context import Context

Floats = NDArray[np.float64]

# The poster's hits (%): ImageNet, DeiT, fine-tuned for 50 epochs.
POSTER = {"kl": 88.9, "snnet": 61.1, "dm": 33.3, "mse": 27.8, "ce": 22.2, "cka": 5.5}


def log_probabilities(context: Context, anchor: str) -> Floats:
    """(n + 1, N, C) of every probe on every validation sample."""
    from klas.pipeline.recipes.probes import probe_logits

    (logits,) = probe_logits(context, anchor, [(0, context.val.samples)])
    return np.asarray(log_softmax(np.asarray(logits, dtype=np.float64), axis=-1))


def divergences(first: Floats, second: Floats) -> Floats:
    """(I, J) mean KL(P_i ‖ Q_j) in nats of (I, N, C) and (J, N, C) log-probabilities."""
    own = (np.exp(first) * first).sum(axis=-1).mean(axis=-1)
    cross = np.einsum("inc,jnc->ij", np.exp(first), second) / first.shape[1]
    return own[:, None] - cross


def variants(pair: Pair, context: Context) -> dict[str, dict[str, Floats]]:
    """For each of the paper's scores its readings: (N,) each, lower is better."""
    p, q = (log_probabilities(context, name) for name in pair.names)
    i, j = pair.stitches.T
    forth, back = divergences(p, q), divergences(q, p).T
    own = divergences(q, q)
    step_forth = np.diagonal(own, offset=1)[j]
    step_back = np.diagonal(own, offset=-1)[j]
    centred = [x - x.mean(axis=-1, keepdims=True) for x in (p, q)]
    squared = [(x**2).sum(axis=-1).mean(axis=-1) for x in centred]
    product = np.einsum("inc,jnc->ij", *centred) / p.shape[1]
    of_logits = squared[0][:, None] + squared[1][None] - 2 * product
    labels = context.val.images.labels[context.val.rows]
    wrong = [-x[:, np.arange(len(labels)), labels].mean(axis=-1) for x in (p, q)]
    entropy = -(np.exp(q) * q).sum(axis=-1).mean(axis=-1)
    return {
        "kl": {
            "Γ as here: Θ(source ‖ target) / Θ(P_j ‖ P_{j+1})": forth[i, j] / step_forth,
            "Θ(target ‖ source) / Θ(P_j ‖ P_{j+1})": back[i, j] / step_forth,
            "Θ(source ‖ target) / Θ(P_{j+1} ‖ P_j)": forth[i, j] / step_back,
            "both directions' mean over both": (forth + back)[i, j] / (step_forth + step_back),
        },
        "mse": {
            "of probabilities (as here)": pair.scores("mse"),
            "of logits": of_logits[i, j],
        },
        "ce": {
            "of Q under P (as here)": pair.scores("ce"),
            "of P under Q": (back + entropy[None])[i, j],
            "of the source's probe and the labels": wrong[0][i],
            "difference of both probes' losses": np.abs(wrong[0][i] - wrong[1][j]),
        },
        "dm": {
            "residual over variance (as here)": pair.scores("dm"),
        },
        "cka": {"1 − CKA": pair.scores("cka")},
    }
