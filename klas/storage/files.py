"""Write a file or a folder whole or not at all; and where results are kept by default."""

import errno
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from klas.errors import StoreError

BESIDE = ".klas-"
SCRATCH = "new-"
"""What the names of unfinished files begin with: beside their place, or in a folder for them."""


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

    Args:
        scratch: a folder on the same disk in which somebody sweeps up what killed processes leave;
            without one the new file is made beside the old.

    Raises:
        StoreError: the folder cannot be written or the disk is full; ``path`` is as it was.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_new(scratch or path.parent, data, SCRATCH if scratch else BESIDE) as new:
            move(new, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None


@contextmanager
def write_new(folder: Path, data: bytes, prefix: str = SCRATCH) -> Iterator[Path]:
    """A synced file with a new name, which the caller moves to its place; else it is deleted.

    Raises:
        StoreError: the folder cannot be written or the disk is full.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        yield temporary
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror or error})") from None
    finally:
        if temporary is not None:
            with suppress(OSError):  # what was wrong before is what counts
                temporary.unlink(missing_ok=True)


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
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=BESIDE))
        try:
            yield scratch / path.name
            sync_files(scratch)
            for made in sorted(scratch.iterdir(), key=lambda made: made.name == path.name):
                if path.is_dir() and made.name == path.name:
                    path.rmdir()  # it is empty; only POSIX would replace it
                made.replace(path.parent / made.name)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None


@contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """An empty folder with a new name, which the caller moves to its place; else it is deleted.

    Raises:
        StoreError: the folder cannot be written or the disk is full.
    """
    try:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=SCRATCH))
        try:
            folder.chmod(0o777 & ~_umask())
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{parent}: cannot be written ({error.strerror or error})") from None


def sync_files(folder: Path) -> None:
    """Sync the files in a folder, which another library may have written."""
    for file in folder.rglob("*"):
        if file.is_file():
            _sync(file, os.O_RDWR)  # Windows syncs only what can be written


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


def move(file: Path, place: Path) -> None:
    """Give a file, which is synced itself, its place, so that not even a power cut undoes it.

    Raises:
        OSError: it cannot be moved.
    """
    file.replace(place)
    sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk, as far as the system lets one.

    Raises:
        OSError: the disk fails.
    """
    if hasattr(os, "O_DIRECTORY"):  # Windows can't open a folder
        with suppress(PermissionError):  # of a folder that can be written, not listed
            _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    opened = os.open(path, flags)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # this disk knows no such thing
            raise
    finally:
        os.close(opened)


def _umask() -> int:
    """The process's file mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
