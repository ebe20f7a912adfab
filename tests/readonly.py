"""A store that cannot be written: for an ordinary user by its permissions, for root in name."""

import os
from contextlib import contextmanager


def contents(root):
    """Every file and folder with what shows a change, but where SQLite says who reads."""
    every = sorted(p for p in root.rglob("*") if not p.name.endswith("-shm"))
    return [(p, p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in every]


@contextmanager
def read_only(root, monkeypatch):
    """Let nothing in a folder be written, and find that nothing was."""
    access, every = os.access, [root, *root.rglob("*")]
    modes = {path: path.stat().st_mode for path in every}
    before = contents(root)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda p, mode: access(p, mode) and mode != os.W_OK)
        for path in reversed(every):
            path.chmod(modes[path] & ~0o222)
        try:
            yield
            assert contents(root) == before
        finally:
            for path in every:
                path.chmod(modes[path])
