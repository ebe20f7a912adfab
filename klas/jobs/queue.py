"""Whose turn it is: one worker a device, the job that was asked for first goes first.

A device has a lock file in the store, held by the worker that uses it and let go when that ends,
however it ends. Who waits looks whether it is the first of the living that would take the device.
No torch here: it would be loaded once for everybody who only waits.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from klas.errors import StoreError
from klas.jobs import process as jobs
from klas.storage.store import Store

LOOK_EVERY = 0.25  # seconds between two looks at the queue
LISTING_SECONDS = 20  # nvidia-smi wakes drivers that sleep


@dataclass(frozen=True, kw_only=True)
class Place:
    """Somewhere to run: ``device`` as torch calls it, and what its lock file is named after."""

    device: str
    lock: str


def places(wish: str, gpus: Sequence[str]) -> list[Place]:
    """Where a job that wishes for a device may run, in order of preference.

    ``auto`` is any CUDA GPU, else the machine itself; ``cuda`` is any CUDA GPU.

    Args:
        gpus: what :func:`visible_gpus` found.
    """
    every = [Place(device=f"cuda:{k}", lock=f"gpu-{name}") for k, name in enumerate(gpus)]
    if wish in ("auto", "cuda") and every:
        return every
    numbered = re.fullmatch(r"cuda:(\d{1,3})", wish)
    if numbered and int(numbered[1]) < len(every):
        return [every[int(numbered[1])]]
    # The CPU and MPS are one machine with one memory.
    own = wish if wish not in ("auto", "cpu", "mps") else "cpu"
    return [Place(device=wish, lock=re.sub(r"[^A-Za-z0-9-]", "-", own))]


def visible_gpus() -> list[str]:
    """A name for each CUDA GPU that torch would see, in its order; empty where there is none."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        words = [re.sub(r"[^A-Za-z0-9-]", "-", word.strip()) for word in named.split(",")]
        return [word for word in words if word and not word.startswith("-")]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=LISTING_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = listed.stdout.splitlines() if listed.returncode == 0 else []
    return [str(k) for k, _ in enumerate(line for line in lines if line.startswith("GPU "))]


@contextmanager
def turn(store: Store, job: str) -> Iterator[Place]:
    """Wait until a device is free and nobody who would take it was there before; hold it.

    Raises:
        StoreError: the lock file can't be opened.
    """
    gpus = visible_gpus()
    mine = places(jobs.wished_device(store, job), gpus)
    while True:
        queue = jobs.waiting(store)
        ahead = queue[: queue.index(job)] if job in queue else queue
        wanted = {p.lock for j in ahead for p in places(jobs.wished_device(store, j), gpus)}
        for place in mine:
            if place.lock not in wanted:
                with _lock_file(store, place) as lock:
                    if jobs.try_lock(lock):
                        yield place
                        return
        time.sleep(LOOK_EVERY)


def is_free(store: Store, place: Place) -> bool:
    """Whether no worker holds a device."""
    with _lock_file(store, place) as lock:
        return jobs.try_lock(lock, shared=True)


def _lock_file(store: Store, place: Place) -> IO[str]:
    path = store.root / "locks" / f"device-{place.lock}.lock"
    try:
        return path.open("a")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
