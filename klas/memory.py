"""How much memory this process took, and how much it may still take. No torch."""

import contextlib
import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """The most memory that this process ever held, in bytes; 0 where the system doesn't say."""
    # psutil is no help: it knows what a process holds now, and the peak on Windows alone. All that
    # follows would stay, so it would be a dependency for one line.
    # Linux's ru_maxrss outlives exec: a worker's would be its parent's.
    if (peak := _field(Path("/proc/self/status"), "VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * (1 if sys.platform == "darwin" else 1024)  # Linux counts in kibibytes


def available_memory_bytes() -> int | None:
    """How much memory new processes may take without swapping; None where nobody says.

    In a container that is what its limit leaves, where it is less than the machine's.
    """
    free = _field(Path("/proc/meminfo"), "MemAvailable")
    limit, used = (
        _number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current")
    )
    left = None if limit is None or used is None else max(0, limit - used)
    known = [amount for amount in (free, left) if amount is not None]
    return min(known, default=None)


def _field(file: Path, name: str) -> int | None:
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
    return None


def _number(file: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: there is no limit
        return int(file.read_text(encoding="ascii"))
    return None
