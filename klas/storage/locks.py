"""Locks on files.

A process holds its lock until it ends, however it ends; a child that inherits the open file holds
it too.
"""

from pathlib import Path
from typing import IO, Any


def can_lock() -> bool:
    """Whether this system has such locks; where it has none every lock is granted."""
    try:
        import fcntl  # noqa: F401
    except ImportError:  # on Windows the command works, background jobs don't
        return False
    return True


def try_lock(file: IO[Any], *, shared: bool = False, wait: bool = False) -> bool:
    """Take the operating system's lock on an open file.

    It lasts until every process that has the file open has closed it.

    Args:
        shared: others may hold it too, if they share it.
        wait: until whoever has it gives it up.

    Returns:
        False if another process has the lock.
    """
    if not can_lock():
        return True
    import fcntl

    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on a file; not if the file can't be opened."""
    try:
        with path.open("rb") as file:
            # Shared, so that two that look at the same time don't take each other for the holder.
            return not try_lock(file, shared=True)
    except OSError:
        return False
