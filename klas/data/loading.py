"""From rows to batches: decode, transform, stack, and put on the device."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from timm.data import create_transform
from torch import Tensor

from klas.data.images import Images
from klas.data.label_maps import LabelMaps
from klas.errors import DataError
from klas.networks.anchor import Transform
from klas.networks.batch_size import LARGEST_BATCH

MOST_THREADS = 16  # more would wait for the interpreter's lock, which each image needs for a while

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches(
    images: Images,
    rows: NDArray[np.int64],
    transforms: Sequence[Transform],
    *,
    device: torch.device,
    batch: int = LARGEST_BATCH,
) -> Iterator[tuple[Tensor, ...]]:
    """Batches of images (n, C, H, W), one tensor per transform, and targets, in order of rows.

    The targets are labels (n,); of label maps they are those, bytes (n, H, W), in the geometry of
    the first transform. A transform that occurs twice is applied once. Pixels go to the device as
    bytes, from pinned memory on CUDA, and are normalised there.

    Args:
        images: the data set.
        rows: (N,) which of its images, in this order.
        transforms: what each view of an image is made by.
        device: where the tensors are to be.
        batch: n; the last batch may have fewer.

    Raises:
        DataError: an image can't be read; see :func:`klas.data.readable.find_unreadable`.
    """
    distinct = list(dict.fromkeys(transforms))
    view = _Views(images, distinct)
    pictures = in_order(view, rows.tolist(), threads=loader_threads(images), ahead=2 * batch)
    for start in range(0, len(rows), batch):
        chunk = rows[start : start + batch]
        columns = list(zip(*(next(pictures) for _ in chunk)))
        here = [
            normalised(_stacked(column, device), transform)
            for column, transform in zip(columns, distinct)
        ]
        if isinstance(images, LabelMaps):
            targets = _stacked(columns[-1], device).flatten(1, 2)
        else:
            targets = torch.from_numpy(images.labels[chunk]).to(device)
        yield (*(here[distinct.index(t)] for t in transforms), targets)


def prepared(picture: Image, transform: Transform) -> Tensor:
    """One picture as a network sees it, (C, H, W): cropped, resized and normalised.

    Args:
        picture: of any size and mode.
        transform: the network's.

    Examples:
        >>> from PIL import Image as pictures
        >>> transform = Transform(
        ...     input_size=(1, 2, 2), mean=(0.5,), std=(0.5,), crop=1.0, interpolation="bilinear"
        ... )
        >>> prepared(pictures.new("L", (2, 2), 255), transform)
        tensor([[[1., 1.],
                 [1., 1.]]])
    """
    pixels = torch.as_tensor(_geometry(transform)(picture.convert(mode_of(transform))))
    return normalised(pixels, transform)


def loader_threads(images: Images) -> int:
    """How many threads decode; 0 for images that Python draws, which threads don't make faster.

    Threads, not processes: a process forked from one that runs CUDA or OpenMP threads may hang,
    and a spawned one imports torch for seconds, runs the user's script again and takes shared
    memory, of which containers have little. Pillow releases the interpreter's lock while it
    reads, decodes and resizes, which is where the time goes.
    """
    if not images.stored:
        return 0
    # As many as torch may use: of several processes on a machine each has its share of the cores.
    return min(MOST_THREADS, torch.get_num_threads())


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Result]:
    """``work(item)`` for every item, in order, by threads that run at most ``ahead`` items ahead.

    What ``work`` raises is raised here, in the same order. Then, or when the caller stops early,
    items that were not begun are dropped.
    """
    if threads == 0:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="klas-loader")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Views:
    """From a row to its image as every transform sees it: bytes (C, H, W), not yet normalised.

    After these comes its label map (1, H, W) if it has one, whose numbers are never mixed.

    It is called in threads, so it must not compute with torch: each thread would start a team of
    its own.
    """

    def __init__(self, images: Images, transforms: Sequence[Transform]) -> None:
        self._images = images
        self._modes = [mode_of(transform) for transform in transforms]
        self._transforms = [_geometry(transform) for transform in transforms]
        self._maps = images if isinstance(images, LabelMaps) else None
        if self._maps is not None:
            self._of_map = _geometry(replace(transforms[0], interpolation="nearest"), channels=1)

    def __call__(self, row: int) -> list[Tensor]:
        picture = self._images.image(row)
        label_map = None if self._maps is None else self._maps.label_map(row)
        try:
            views = [t(picture.convert(m)) for t, m in zip(self._transforms, self._modes)]
            return views if label_map is None else [*views, self._of_map(label_map)]
        except Exception as error:
            raise DataError(
                f"{self._images.where(row)}: cannot be cropped and resized ({error})"
            ) from None


def mode_of(transform: Transform) -> str:
    """What Pillow calls the pictures that a network takes."""
    return "L" if transform.input_size[0] == 1 else "RGB"


def _geometry(transform: Transform, channels: int | None = None) -> Callable[[Image], Any]:
    """From a picture to its bytes (C, H, W), cropped and resized."""
    _, *size = transform.input_size
    geometry: Callable[[Image], Any] = create_transform(
        input_size=(channels or transform.input_size[0], *size),
        is_training=False,
        use_prefetcher=True,  # timm's word for: leave normalisation to the batch
        interpolation=transform.interpolation,
        crop_pct=transform.crop,
        crop_mode="squash" if transform.whole else None,
    )
    return geometry


def _stacked(pictures: Sequence[Tensor], device: torch.device) -> Tensor:
    """(n, C, H, W) bytes on the device."""
    shape = (len(pictures), *pictures[0].shape)
    stacked = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    torch.stack(tuple(pictures), out=stacked)
    return stacked.to(device, non_blocking=stacked.is_pinned())


def normalised(pixels: Tensor, transform: Transform) -> Tensor:
    """Bytes (…, C, H, W) as torchvision's ``ToTensor`` and ``Normalize`` make them, to the bit."""
    mean, std = (
        torch.tensor(values, device=pixels.device)[:, None, None]
        for values in (transform.mean, transform.std)
    )
    return pixels.float().div_(255).sub_(mean).div_(std)
