"""How long a forward pass takes on this machine: every candidate of a pair, and its anchors.

Parts do not add up to a network's time (launches, caches and memory layouts lie between them), so
the stitched networks themselves are timed, at batch 1, on an image that the pair is validated on.
"""

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from klas.networks.batch_size import enough_memory_for
from klas.networks.device import autocast
from klas.networks.stitch import Stitch
from klas.pipeline.run import Pipeline
from klas.results.costs import latency_pair_key, note_timings
from klas.results.pair import Pair

Floats = NDArray[np.float64]

ROUNDS = 5
"""Every network has a turn in each, so that a machine that slows down slows all of them."""
NETWORK_SECONDS = 0.2  # what the timed passes of one network take together, about
MOST_A_TURN = 200  # of a network that takes microseconds
WARM_UP = 3  # passes before the first that counts: memory, caches, chosen algorithms


def measure_latency(pipeline: Pipeline, pair: Pair) -> dict[str, Any]:
    """Time every candidate of a pair and its anchors (with a head) on the pipeline's device.

    Returns:
        ``machine``, ``batch`` (1), and in ``stitches`` (by ``"i-j"``) and ``anchors`` (by name)
        the ``median_ms``, the quartiles ``low_ms`` and ``high_ms``, and how many ``passes``.

    Raises:
        KlasError: there is not enough memory for one image.
    """
    bench, store = pipeline.bench, pipeline.store
    where = machine(bench.device)
    key = latency_pair_key(pair, where)
    networks = [*pair.everywhere, *pair.names]
    pipeline.progress.start("latency", "turns", 0 if store.has(key) else ROUNDS * len(networks))
    pipeline.progress.label(pair.name)

    def make() -> dict[str, Any]:
        with enough_memory_for("a single image; choose smaller anchors"), torch.inference_mode():
            runs = _runs(pipeline, pair)
            with autocast(bench.device, bench.precision):
                found = time_runs(runs, pipeline.progress.advance)
        spreads = {name: _spread(seconds) for name, seconds in found.items()}
        return {
            "machine": where,
            "batch": 1,
            "stitches": {n: s for n, s in spreads.items() if n not in pair.names},
            "anchors": {n: s for n, s in spreads.items() if n in pair.names},
        }

    found: dict[str, Any] = store.compute(key, make)
    note_timings(store, pipeline.study, pair, where)
    pipeline.record()
    return found


def time_runs(
    runs: Mapping[str, Callable[[], None]],
    tick: Callable[[int], None],
    *,
    seconds: float = NETWORK_SECONDS,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, Floats]:
    """(repeats,) seconds of each run, in rounds of a seeded order.

    In every round each has one turn: a pass that does not count, for the others have taken the
    caches, then as many as its share of ``seconds`` holds, one at least.

    Args:
        runs: do the work and return when it is done.
        tick: told of every turn.
        clock: seconds.
    """

    def timed(run: Callable[[], None]) -> float:
        before = clock()
        run()
        return clock() - before

    passes = {}
    for name, run in runs.items():
        for _ in range(WARM_UP):
            run()
        share = seconds / ROUNDS / max(timed(run), 1e-9)
        passes[name] = int(np.clip(share, 1, MOST_A_TURN))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    order = np.random.default_rng(0)
    for _ in range(ROUNDS):
        for name in order.permutation(list(runs)):
            runs[name]()
            taken[name] += [timed(runs[name]) for _ in range(passes[name])]
            tick(1)
    return {name: np.array(times) for name, times in taken.items()}


def machine(device: torch.device) -> dict[str, Any]:
    """What a time depends on beside the network: the device, the threads, the library."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def device_name(device: torch.device) -> str:
    """What its maker calls a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        facts = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        facts = []
    named = next((line.partition(":")[2].strip() for line in facts if "model name" in line), "")
    processor = named or platform.processor() or platform.machine()
    return processor if device.type == "cpu" else f"{device.type}, {processor}"


def _runs(pipeline: Pipeline, pair: Pair) -> dict[str, Callable[[], None]]:
    """A forward pass of each network, by ``"i-j"`` or by the anchor's name."""
    bench, (source, target) = pipeline.bench, pair.names
    anchors = bench.anchors
    views = next(bench.batches(bench.val, bench.val_rows[:1], source, target, batch=1))
    layers = bench.layers(source, target, pipeline.stages.fitted(source, target))
    places = pair.everywhere
    networks: dict[str, tuple[nn.Module, Tensor]] = {
        f"{i}-{j}": (
            Stitch(anchors[source], i, anchors[target], j, layers[i, j]).eval(),
            views[0],
        )
        for i, j in places
    }
    networks |= {
        name: (anchors[name], view)
        for name, view in zip(pair.names, views)
        if anchors[name].info.classes
    }
    return {name: _run(network, view) for name, (network, view) in networks.items()}


def _run(network: nn.Module, image: Tensor) -> Callable[[], None]:
    def run() -> None:
        network(image)
        # A GPU is told what to do and does it later.
        if image.is_cuda:
            torch.cuda.synchronize(image.device)
        elif image.is_mps:
            torch.mps.synchronize()

    return run


def _spread(seconds: Floats) -> dict[str, float | int]:
    low, median, high = (1e3 * float(v) for v in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return {"median_ms": median, "low_ms": low, "high_ms": high, "passes": len(seconds)}
