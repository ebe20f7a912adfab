"""Images and labels: what timm's reader finds in a folder, or the built-in digits.

Samples are visited in seeded orders, never the folder's, and subsets are class-balanced.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_dataset, create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from klas.digits.scenes import (
    CHUNK,
    CLASSES,
    SCENES_VERSION,
    SPLITS,
    Split,
    scene_chunk,
    scene_labels,
)
from klas.errors import DataError
from klas.networks.anchor import Transform

FORWARD_BATCH = 250
DIGITS_SIZES: dict[Split, int] = {"train": 200_000, "val": 10_000, "test": 10_000}
_DIGITS = "klas/digits:"


class Images(Protocol):
    """A data set: pictures by number, and their classes."""

    labels: NDArray[np.int64]  # (N,)
    class_names: tuple[str, ...]
    fingerprint: str

    def image(self, index: int) -> Image.Image:
        """One picture, as the file holds it."""
        ...


class DigitScenes:
    """The built-in digits: scenes are drawn, by the thousand, when first asked for."""

    def __init__(self, split: Split) -> None:
        self._split: Split = split
        self.labels = scene_labels(split, DIGITS_SIZES[split])
        self.class_names = tuple(str(digit) for digit in range(CLASSES))
        self.fingerprint = f"digits-scenes-{SCENES_VERSION}-{split}-{DIGITS_SIZES[split]}"

    def image(self, index: int) -> Image.Image:
        """Scene ``index`` as a greyscale picture."""
        images, _ = _drawn(self._split, index // CHUNK)
        return Image.fromarray(images[index % CHUNK])


@lru_cache(maxsize=256)  # 0.25 MB each: the whole training split fits
def _drawn(split: Split, chunk: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return scene_chunk(split, 0, chunk)


class FolderImages:
    """A folder with one folder of images per class, read by timm."""

    def __init__(self, root: Path) -> None:
        try:
            self._reader = create_dataset("", root=str(root), search_split=False).reader
        except Exception as error:
            raise DataError(f"{root}: timm finds no class folders with images ({error})") from None
        samples = self._reader.samples
        self.labels = np.array([target for _, target in samples], dtype=np.int64)
        self.class_names = tuple(sorted(self._reader.class_to_idx))
        self._paths = [Path(path) for path, _ in samples]
        self.fingerprint = _folder_fingerprint(root, self._paths)

    def image(self, index: int) -> Image.Image:
        """One picture.

        Raises:
            DataError: the file is no readable image.
        """
        try:
            with Image.open(self._paths[index]) as picture:
                picture.load()
                return picture
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{self._paths[index]}: is no readable image ({error})") from None


def open_images(ref: str) -> Images:
    """Open ``klas/digits:train|val|test`` or a folder.

    Raises:
        DataError: there is nothing under that name.
    """
    if ref.startswith(_DIGITS):
        for split in SPLITS:
            if ref == _DIGITS + split:
                return DigitScenes(split)
        names = ", ".join(_DIGITS + split for split in SPLITS)
        raise DataError(f"{ref}: there is no such split; the built-in data are {names}")
    if not Path(ref).is_dir():
        raise DataError(f"{ref}: there is no such folder; name one that holds a folder per class")
    return FolderImages(Path(ref))


def balanced_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """(N,) row numbers of which every prefix is class-balanced: one of each class in turn.

    Within a class, and within a turn, the order is random but fixed by ``seed``.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    seen = np.zeros(int(labels.max(initial=-1)) + 1, dtype=np.int64)
    for position, row in enumerate(order):
        turn[position] = seen[labels[row]]
        seen[labels[row]] += 1
    return order[np.argsort(turn, kind="stable")]


def subset(images: Images, samples: int, seed: int) -> NDArray[np.int64]:
    """(min(samples, N),) rows of a class-balanced subset, in one seeded permutation."""
    rows = balanced_order(images.labels, seed)[:samples]
    return np.random.default_rng([seed, 1]).permutation(rows)


class _Pictures(Dataset[tuple[Tensor, ...] | DataError]):
    def __init__(
        self, images: Images, rows: NDArray[np.int64], transforms: Sequence[Transform]
    ) -> None:
        self._images = images
        self._rows = rows
        self._modes = ["L" if t.input_size[0] == 1 else "RGB" for t in transforms]
        self._transforms = [
            create_transform(
                input_size=t.input_size,
                is_training=False,
                interpolation=t.interpolation,
                mean=t.mean,
                std=t.std,
                crop_pct=t.crop,
            )
            for t in transforms
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[Tensor, ...] | DataError:
        row = int(self._rows[position])
        try:
            picture = self._images.image(row)
        except DataError as error:
            return error  # raised in the parent, where its sentence stays one sentence
        views = [t(picture.convert(m)) for t, m in zip(self._transforms, self._modes)]
        return (*views, torch.tensor(self._images.labels[row]))


def batches(
    images: Images,
    rows: NDArray[np.int64],
    transforms: Sequence[Transform],
    *,
    device: torch.device,
    batch: int = FORWARD_BATCH,
) -> Iterator[tuple[Tensor, ...]]:
    """Batches (one picture tensor (n, C, H, W) per transform, then labels (n,)) in order of rows.

    A transform that occurs twice is applied once.
    """
    distinct = list(dict.fromkeys(transforms))
    workers = min(4, os.cpu_count() or 1) if isinstance(images, FolderImages) else 0
    loader = DataLoader(
        _Pictures(images, rows, distinct),
        batch_size=batch,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        collate_fn=_collate,
    )
    for loaded in loader:
        if isinstance(loaded, DataError):
            raise loaded
        *views, labels = loaded
        here = [view.to(device, non_blocking=True) for view in views]
        wanted = [here[distinct.index(t)] for t in transforms]
        yield (*wanted, labels.to(device, non_blocking=True))


def _collate(items: list[tuple[Tensor, ...] | DataError]) -> list[Tensor] | DataError:
    whole = [item for item in items if not isinstance(item, DataError)]
    if len(whole) < len(items):
        return next(item for item in items if isinstance(item, DataError))
    return [torch.stack(column) for column in zip(*whole)]


def _folder_fingerprint(root: Path, paths: list[Path]) -> str:
    """Digest of every relative path and size, and of the content of up to 256 files."""
    digest = hashlib.sha256()
    try:
        for path in paths:
            digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\n".encode())
        for path in paths[:: max(1, len(paths) // 256)]:
            digest.update(path.read_bytes())
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()
