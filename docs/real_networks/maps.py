"""Pictures of Γ and Σ."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from docs.real_networks.readings import theta_target
from klas.results.pair import Pair

mpl.use("agg")

from matplotlib import pyplot as plt


def draw_maps(pair: Pair, folder: Path) -> str:
    """Γ over source and target block, and Σ of every target block, as one picture.

    Returns:
        the file's name.
    """
    blocks = pair.source["blocks"], pair.target["blocks"]
    gamma = np.full((blocks[0] + 1, blocks[1]), np.nan)
    for (i, j), score in zip(pair.stitches, pair.scores("kl")):
        gamma[i, j] = score
    sigma = np.diagonal(theta_target(pair), offset=1)
    figure, (above, below) = plt.subplots(
        2,
        1,
        figsize=(9, 4.2),
        sharex=True,
        height_ratios=(3, 1),
        layout="constrained",
    )
    finite = np.where(np.isfinite(gamma), gamma, np.nan)
    drawn = above.imshow(
        np.log10(finite), aspect="auto", cmap="viridis", origin="lower", interpolation="nearest"
    )
    above.set(ylabel="source block i", ylim=(0.5, blocks[0] + 0.5))
    above.set_title(f"{pair.name}: log₁₀ Γ", fontsize=11)
    figure.colorbar(drawn, ax=above)
    below.step(np.arange(blocks[1]), sigma, where="mid", color="#2f7ed8")
    below.set(ylabel="Σ (nats)", xlabel="target block j", ylim=(0, None))
    name = f"gamma-{'-'.join(pair.names)}.png"
    figure.savefig(folder / name, dpi=110)
    plt.close(figure)
    return name
