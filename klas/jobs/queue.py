"""The queue for devices: one job a device, and the job that was asked for first goes first.

A device has a lock file in the store, held by the worker that uses it and released when that ends,
however it ends. A waiting worker takes the device when no living job before it would take it. No
torch here: every worker that only waits would load it.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from klas.errors import StoreError
from klas.jobs.listing import waiting
from klas.storage.locks import is_locked, try_lock
from klas.storage.store import Store

LOOK_EVERY = 0.25  # seconds between two checks of the queue
LISTING_SECONDS = 20  # nvidia-smi may have to wake a driver


@dataclass(frozen=True, kw_only=True)
class DeviceSlot:
    """A place for one worker: ``device`` as torch calls it, and the name of its lock file."""

    device: str
    lock: str


def device_slots(wish: str, gpus: Sequence[str]) -> list[DeviceSlot]:
    """Where a job may run, in order of preference.

    Args:
        wish: ``auto`` (any CUDA GPU, else the machine itself), ``cuda`` (any CUDA GPU), or what
            torch calls a device.
        gpus: what :func:`visible_gpus` returns.
    """
    every = [DeviceSlot(device=f"cuda:{k}", lock=f"gpu-{name}") for k, name in enumerate(gpus)]
    if wish in ("auto", "cuda") and every:
        return every
    numbered = re.fullmatch(r"cuda:(\d{1,3})", wish)
    if numbered and int(numbered[1]) < len(every):
        return [every[int(numbered[1])]]
    # The CPU and MPS are one machine with one memory.
    own = wish if wish not in ("auto", "cpu", "mps") else "cpu"
    return [DeviceSlot(device=wish, lock=re.sub(r"[^A-Za-z0-9-]", "-", own))]


def visible_gpus() -> list[str]:
    """A name for each CUDA GPU that torch would see, in its order; empty where there is none."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        names = [re.sub(r"[^A-Za-z0-9-]", "-", name.strip()) for name in named.split(",")]
        return [name for name in names if name and not name.startswith("-")]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", timeout=LISTING_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = listed.stdout.splitlines() if listed.returncode == 0 else []
    return [str(k) for k, _ in enumerate(line for line in lines if line.startswith("GPU "))]


@contextmanager
def devices_for(
    store: Store, job: str, wish: str, *, most: int | None = None
) -> Iterator[list[DeviceSlot]]:
    """Wait until a device is free and no job ahead in the queue would take it; hold it.

    Others that are free and that no waiting job would take are held too.

    Args:
        wish: as :func:`device_slots` takes it.
        most: how many the job can use; by default any number.

    Raises:
        StoreError: a lock file can't be opened.
    """
    gpus = visible_gpus()
    with ExitStack() as held:
        taken: list[DeviceSlot] = []
        while not taken:
            queue = waiting(store)
            ahead = list(takewhile(lambda one: one.id != job, queue))
            for slot in device_slots(wish, gpus):
                if len(taken) == most:
                    break
                others = ahead if not taken else [one for one in queue if one.id != job]
                wanted = {s.lock for one in others for s in device_slots(one.device, gpus)}
                if slot.lock not in wanted and _held(store, slot, held):
                    taken.append(slot)
            if not taken:
                time.sleep(LOOK_EVERY)
        yield taken


def _held(store: Store, slot: DeviceSlot, held: ExitStack) -> bool:
    """Take a device's lock, if it is free, until ``held`` ends."""
    path = _lock_path(store, slot)
    try:
        lock = path.open("ab")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    if not try_lock(lock):
        lock.close()
        return False
    held.enter_context(lock)
    return True


def is_free(store: Store, slot: DeviceSlot) -> bool:
    """Whether no worker holds a device."""
    return not is_locked(_lock_path(store, slot))


def _lock_path(store: Store, slot: DeviceSlot) -> Path:
    return store.root / "locks" / f"device-{slot.lock}.lock"
