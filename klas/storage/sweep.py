"""Sweep up what killed processes left in a store: whoever opens it does, if nobody is at work."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from filelock import Timeout

from klas.errors import StoreError
from klas.storage.contents import Contents
from klas.storage.files import BESIDE, SCRATCH

OLD = 3600.0  # seconds; an older klas, which does not say that it is at work, writes far quicker


def sweep(contents: Contents) -> None:
    """Finish or delete what is half done. Nothing happens while somebody is at work."""
    with suppress(StoreError, OSError), contents.gate.if_alone() as alone:
        if alone:
            contents.gate.forget_dead()
            remove_rows(contents)
            tmp, exports = contents.root / "tmp", contents.root / "exports"
            trained = contents.root / "trained"  # where every klas says that it is at work
            for left in (*tmp.glob(f"{SCRATCH}*"), *trained.glob(f"*/{BESIDE}*")):
                _remove(left)
            for left in (*tmp.glob(f"{BESIDE}*"), *exports.glob(f"{BESIDE}*")):
                if time.time() - left.stat().st_mtime > OLD:
                    _remove(left)
            contents.settle()


def remove_rows(contents: Contents) -> None:
    """Delete results that were written in rows and never finished: nobody holds their locks."""
    for path in (contents.root / "tmp").glob("*.rows"):
        lock = contents.lock(path.name.partition(".")[0])
        if not lock.is_locked:  # by this thread, which could take it again
            with suppress(Timeout, StoreError, OSError), lock.acquire(timeout=0):
                path.unlink()


def _remove(left: Path) -> None:
    shutil.rmtree(left) if left.is_dir() else left.unlink()
