"""Row ``memory``: the peak of a process that measures twice the samples.

``python -m benchmarks.memory SAMPLES`` is such a process: it makes the sums of all scores from one
sweep of two networks and prints its peak in MB.
"""

import mmap
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.harness import Measure, Row, Sides, within
from benchmarks.networks import anchor, images
from benchmarks.sweeps import val_sweep
from klas.measures.cka import cka_terms
from klas.measures.divergence import theta
from klas.measures.least_squares import fit_stitch_layers
from klas.memory import peak_memory_bytes
from klas.networks.anchor import Anchor
from klas.storage.arrays import Arrays, parts, views

MODELS = ("digits_vit_small", "digits_vit_base")
BATCH, CLASSES, CHUNK = 256, 100, 500
HALF = "half as many samples"


def _logits(anchor: Anchor, arrays: Arrays, samples: int) -> Iterator[torch.Tensor]:
    """Of a random probe at every cut, chunk by chunk."""
    torch.manual_seed(0)
    widths = [layout.channels for layout in anchor.info.layouts]
    weights = [torch.randn(width, CLASSES) for width in widths]
    bounds = [(k, k + CHUNK) for k in range(0, samples, CHUNK)]
    cuts = (parts(arrays[f"cut{k}"], bounds) for k in range(len(widths)))
    for rows in zip(*cuts):
        yield torch.stack([torch.from_numpy(part) @ w for part, w in zip(rows, weights)])


def peak(samples: int) -> float:
    """MB that this process took at most."""
    device = torch.device("cpu")
    anchors = [anchor(model, device) for model in MODELS]
    size = anchors[0].info.images.input_size
    with tempfile.TemporaryDirectory() as folder:
        arrays = []
        for network in anchors:
            path = Path(folder) / network.info.name
            val_sweep(network, samples, BATCH, device, path)
            with path.open("rb") as file:
                arrays.append(views(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
        theta(zip(*(_logits(a, kept, samples) for a, kept in zip(anchors, arrays))))
        grams = [
            [kept[f"gram{k}"] for k in range(a.info.depth + 1)] for a, kept in zip(anchors, arrays)
        ]
        cka_terms(grams[0], grams[1], samples)
    fit_stitch_layers(
        anchors[0], anchors[1], images(samples, BATCH, device, size=size, views=2), [(1, 1), (2, 3)]
    )
    return peak_memory_bytes() / 1e6


def _sides(device: torch.device, *, samples: int) -> Iterator[Sides]:
    def of(count: int) -> Measure:
        command = [sys.executable, "-m", "benchmarks.memory", str(count)]

        def measure() -> float:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return float(done.stdout)

        return measure

    yield Sides(ours=of(2 * samples), others={HALF: of(samples)})


ROWS = (
    Row(
        name="memory",
        what="peak of a process that sweeps two networks and makes the sums of all scores",
        reach={HALF: within(1.05)},
        sides=_sides,
        sizes={kind: {"samples": 16_000} for kind in ("cpu", "cuda")},
        rounds=3,
        warm_up=False,
        unit="MB",
    ),
)

if __name__ == "__main__":
    print(peak(int(sys.argv[1])))
