"""How much memory this process took. No torch."""

import contextlib
import sys


def peak_memory_bytes() -> int:
    """The most memory that this process ever held, in bytes; 0 where the system doesn't say."""
    # psutil is no help: it knows what a process holds now, and the peak on Windows alone. All that
    # follows would stay, so it would be a dependency for one line.
    with (
        contextlib.suppress(OSError, StopIteration),
        open("/proc/self/status", encoding="ascii", errors="replace") as facts,
    ):
        # Linux's ru_maxrss outlives exec: a worker's would be its parent's.
        return int(next(line for line in facts if line.startswith("VmHWM")).split()[1]) * 1024
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)  # Linux counts in kibibytes
