"""Where a worker on another host keeps its files, and how nothing of it stays behind.

The workers of one study on one host share a folder, so that what several of them need is there
once. Each holds a lock in it while it lives, however it ends; a folder in which nobody holds one
is nobody's.
"""

import getpass
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from klas.errors import StoreError

LOCKS = "workers"  # the folder of the locks, in each worker's folder


def workers_root() -> Path:
    """Where this host's workers have their folders.

    In ``KLAS_CACHE_DIR`` if Ray was started with it, else in the system's folder for temporary
    files. It has to be a local disk.
    """
    if named := os.environ.get("KLAS_CACHE_DIR"):
        return Path(named).absolute() / "ray-workers"
    return Path(tempfile.gettempdir()) / f"klas-ray-workers-{getpass.getuser()}"


class WorkerFolder:
    """A worker's folder, from its first worker's beginning to its last one's end.

    Attributes:
        path: the folder.

    Raises:
        StoreError: it cannot be made.
    """

    def __init__(self, name: str) -> None:
        """Join the workers of a folder; those that no worker has are deleted.

        Args:
            name: the same for all workers of a study on a host.
        """
        self.path = workers_root() / name
        with _alone():
            _remove_abandoned()
            locks = self.path / LOCKS
            try:
                locks.mkdir(parents=True, exist_ok=True)
                self._lock = FileLock(locks / f"{uuid4().hex}.lock")
                self._lock.acquire()
            except OSError as error:
                raise StoreError(f"{locks}: cannot be written ({error.strerror})") from None


def remove_abandoned_folders(awaited: str, patience: float) -> None:
    """Delete the folders that no living worker has.

    Args:
        awaited: the folder whose workers are about to end.
        patience: for so many seconds they are waited for.
    """
    if workers_root().is_dir():
        with _alone():
            _remove_abandoned(awaited, patience)


@contextmanager
def _alone() -> Iterator[None]:
    """Nobody else makes or deletes folders here meanwhile."""
    root = workers_root()
    lock = FileLock(root / "folders.lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise StoreError(
            f"{root}: workers cannot keep files there ({error.strerror}); start Ray on this host "
            "with KLAS_CACHE_DIR set to a folder that can be written"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _remove_abandoned(awaited: str = "", patience: float = 0.0) -> None:
    for folder in workers_root().iterdir():
        if folder.is_dir() and _is_abandoned(folder, patience if folder.name == awaited else 0.0):
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path, patience: float) -> bool:
    for path in (folder / LOCKS).glob("*.lock"):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            return False
        lock.release()
        path.unlink(missing_ok=True)
    return True
