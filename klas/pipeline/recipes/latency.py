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

from klas.measures.sweep import Tick
from klas.networks.batch_size import enough_memory_for
from klas.networks.device import autocast
from klas.networks.family import Member
from klas.pipeline.context import Context
from klas.pipeline.recipes.recipe import Cost, Recipe, undivided
from klas.pipeline.recipes.zero_shot import fitted_family
from klas.pipeline.speed import Speed
from klas.results.result import Latency, Machine

Floats = NDArray[np.float64]

ROUNDS = 5
"""Every network is timed in each, so that a machine that slows down slows all of them."""
NETWORK_SECONDS = 0.2  # what the timed passes of one network take together, about
MOST_PASSES = 200  # in one round, of a network that takes microseconds
WARM_UP = 3  # passes before the first that counts: memory, caches, chosen algorithms


def _measure(result: Latency, context: Context, tick: Tick) -> dict[str, Any]:
    """Time every candidate of a pair and its anchors (with a head) on the context's device.

    Returns:
        ``machine``, ``batch`` (1), and in ``stitches`` (by ``"i-j"``) and ``anchors`` (by name)
        the ``median_ms``, the quartiles ``low_ms`` and ``high_ms``, and how many ``passes``.

    Raises:
        KlasError: there is not enough memory for one image.
    """
    with enough_memory_for("a single image; choose smaller anchors"), torch.inference_mode():
        runs = _runs(result, context)
        with autocast(context.device, context.precision):
            times = time_runs(runs, tick)
    spreads = {name: _spread(seconds) for name, seconds in times.items()}
    return {
        "machine": result.machine.to_json(),
        "batch": 1,
        "stitches": {n: s for n, s in spreads.items() if n not in result.names},
        "anchors": {n: s for n, s in spreads.items() if n in result.names},
    }


def time_runs(
    runs: Mapping[str, Callable[[], None]],
    tick: Callable[[int], None],
    *,
    seconds: float = NETWORK_SECONDS,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, Floats]:
    """(repeats,) seconds of each run, in rounds of a seeded order.

    In every round each run is called once without being timed, because the others have filled the
    caches, and then as often as its share of ``seconds`` allows, at least once.

    Args:
        runs: do the work and return when it is done.
        tick: called once for every run in every round.
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
        passes[name] = int(np.clip(share, 1, MOST_PASSES))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    order = np.random.default_rng(0)
    for _ in range(ROUNDS):
        for name in order.permutation(list(runs)):
            runs[name]()
            taken[name] += [timed(runs[name]) for _ in range(passes[name])]
            tick(1)
    return {name: np.array(times) for name, times in taken.items()}


def machine(device: torch.device) -> Machine:
    """This machine, as far as a time depends on it."""
    return Machine(
        device=device_name(device),
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
    )


def device_name(device: torch.device) -> str:
    """A device's name, as its maker gives it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        facts = []
    named = next((line.partition(":")[2].strip() for line in facts if "model name" in line), "")
    processor = named or platform.processor() or platform.machine()
    return processor if device.type == "cpu" else f"{device.type}, {processor}"


def _runs(result: Latency, context: Context) -> dict[str, Callable[[], None]]:
    """A forward pass of each network, by ``"i-j"`` or by the anchor's name."""
    val = context.val
    views = next(context.batches(val.images, val.rows[:1], *result.names, batch=1))
    family = fitted_family(result, context, context.places(*result.names))
    members: tuple[Member, ...] = (*family.places, *family.anchors)
    return {
        family.title(member): _run(family.network(member), family.view(member, *views[:2]))
        for member in members
    }


def _run(network: nn.Module, image: Tensor) -> Callable[[], None]:
    def run() -> None:
        network(image)
        # A GPU works asynchronously.
        if image.is_cuda:
            torch.cuda.synchronize(image.device)
        elif image.is_mps:
            torch.mps.synchronize()

    return run


def _timings(result: Latency, context: Context) -> int:
    return ROUNDS * len([*context.places(result.source, result.target), *result.names])


def _cost(result: Latency, context: Context, speed: Speed) -> Cost:
    return Cost(seconds=NETWORK_SECONDS * _timings(result, context) / ROUNDS)


def _spread(seconds: Floats) -> dict[str, float | int]:
    low, median, high = (1e3 * float(v) for v in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return {"median_ms": median, "low_ms": low, "high_ms": high, "passes": len(seconds)}


LATENCY = Recipe[Latency](units=_timings, shares=undivided(_measure), cost=_cost)
