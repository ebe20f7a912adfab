"""Write a file or a folder whole or not at all; and where results are kept by default."""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from klas.errors import StoreError


def default_root() -> Path:
    """The folder of results, unless another one is named.

    ``KLAS_CACHE_DIR``, else ``cache/`` of the checkout that this package runs from, else
    ``~/.cache/klas`` for an installed package.
    """
    if named := os.environ.get("KLAS_CACHE_DIR"):
        return Path(named)
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "cache"
    return Path.home() / ".cache" / "klas"


def write_whole(path: Path, data: bytes, *, scratch: Path | None = None) -> None:
    """Write a file so that readers see the old bytes or all of the new ones, never a part.

    A link is followed; what is not a file (``/dev/stdout``) is written to directly.

    Raises:
        StoreError: the folder cannot be written or the disk is full; ``path`` is as it was.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=scratch or path.parent, prefix=".klas-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None


@contextmanager
def made_beside(path: Path) -> Iterator[Path]:
    """Where to make what is to be at ``path``, a file or a folder, before it is moved there.

    For what other libraries write. What lies beside the new ``path`` at the end is moved too, and
    first. If the caller fails, nothing is left.

    Raises:
        StoreError: the folder cannot be written, the disk is full, or ``path`` is a folder that
            holds something; that is as it was.

    Examples:
        >>> with made_beside(Path("model.bin")) as fresh:
        ...     _ = fresh.write_bytes(b"weights")
        >>> Path("model.bin").read_bytes()
        b'weights'
    """
    try:
        path = path.resolve()
        if path.is_dir() and any(path.iterdir()):
            raise StoreError(f"{path}: is a folder that holds something; name another, or empty it")
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=".klas-"))
        try:
            yield scratch / path.name
            for made in sorted(scratch.iterdir(), key=lambda made: made.name == path.name):
                if path.is_dir() and made.name == path.name:
                    path.rmdir()  # it is empty; only POSIX would replace it
                made.replace(path.parent / made.name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None


def file_name(text: str) -> str:
    """A text as a name without an ending, in characters that every system takes.

    Examples:
        >>> file_name("swin zoo: 12 stitches")
        'swin-zoo-12-stitches'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:160]


def write_zip(target: Path | IO[bytes], files: Mapping[str, Path]) -> None:
    """Write files as one, under the names that they get in it; weights are not compressed.

    Raises:
        OSError: one can't be read, or the target can't be written.
    """
    with zipfile.ZipFile(target, "w") as packed:
        for name, path in files.items():
            packed.write(path, name)


def _umask() -> int:
    """The process's file mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
