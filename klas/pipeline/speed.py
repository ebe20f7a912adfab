"""How fast this machine is: what estimates and the order of work follow from."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from threadpoolctl import threadpool_limits

from klas.networks.device import autocast
from klas.pipeline.context import Context

TIMED_IMAGES = 50  # in the batch that is timed, where so many fit


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds for one sample, as measured.

    Attributes:
        forward: for a pass of each anchor, by name.
        loading: for decoding and transforming it.
    """

    forward: Mapping[str, float]
    loading: float


_MEASURED: WeakKeyDictionary[Context, dict[int, Speed]] = WeakKeyDictionary()


def speed_of(context: Context, threads: int | None = None) -> Speed:
    """Time a small batch of every anchor and of the loader; once for each number of threads.

    Args:
        threads: that torch computes with meanwhile; None for as many as it has.
    """
    threads = threads or torch.get_num_threads()
    known = _MEASURED.setdefault(context, {})
    if threads not in known:
        # Not by torch.set_num_threads: that also forbids MKL to take fewer threads for small
        # products, which can't be taken back. Two threads then tune small networks 1.4 times as
        # slowly, for as long as the process lives.
        with threadpool_limits(threads):
            forward = {name: _seconds_per_image(context, name) for name in context.anchors}
            known[threads] = Speed(forward=forward, loading=_loading_seconds(context))
    return known[threads]


def _seconds_per_image(context: Context, name: str) -> float:
    seconds = context.batch.retrying(lambda tick: _timed(context, name), lambda n: None)
    return float(seconds)


@torch.inference_mode()  # only here: networks that are opened inside it can't be traced
def _timed(context: Context, name: str) -> float:
    info = context.anchors[name].info
    batch = min(TIMED_IMAGES, context.batch.size)
    one = info.transform.example()
    samples = torch.zeros(batch, *one.shape[1:], dtype=one.dtype, device=context.device)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with autocast(context.device, context.precision):
            outputs = context.anchors[name](samples)
        outputs.sum().item()  # waits for the device
        times.append(time.perf_counter() - start)
    return min(times) / batch


def _loading_seconds(context: Context) -> float:
    val, first = context.val, next(iter(context.anchors))
    rows = val.rows[:TIMED_IMAGES]
    times = []
    for _ in range(2):  # the first pass may have to find, or draw, the pictures
        start = time.perf_counter()
        for _ in context.batches(val.images, rows, first):
            pass
        times.append(time.perf_counter() - start)
    return min(times) / max(len(rows), 1)
