"""Row ``selection``: what follows each change of τ in the app, without torch."""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.harness import Row, Sides, at_most, seconds_of
from klas.selection.buckets import select
from klas.selection.curves import areas, envelope
from klas.selection.scores import gamma
from klas.selection.space import search_space


def _sides(device: torch.device, *, pairs: int, blocks: int) -> Iterator[Sides]:
    rng = np.random.default_rng(0)
    i, j = np.array(search_space(blocks, blocks)).T
    macs = 1.0 + i / blocks + 3 * (1 - j / blocks)
    made = [
        (
            gamma(rng.uniform(0.1, 2, (blocks + 1,) * 2), rng.uniform(0.1, 2, (blocks + 1,) * 2)),
            rng.uniform(0.5, 0.8, len(macs)),
        )
        for _ in range(pairs)
    ]

    def ours() -> None:
        for scores, accuracy in made:
            chosen = select(scores[i, j], macs, low=1.0, high=4.0).chosen
            envelope(np.append(macs[chosen], [1.0, 4.0]), np.append(accuracy[chosen], [0.6, 0.8]))
            areas(macs[chosen], accuracy[chosen], cheap=(1.0, 0.6), costly=(4.0, 0.8))

    measure = seconds_of(ours, device)
    yield Sides(ours=lambda: 1_000 * measure())


ROWS = (
    Row(
        name="selection",
        what="choice, envelope and areas of 3 pairs of 24 × 24 blocks, in numpy",
        reach={"": at_most(5)},
        sides=_sides,
        sizes={kind: {"pairs": 3, "blocks": 24} for kind in ("cpu", "cuda")},
        rounds=20,
        unit="ms",
    ),
)
