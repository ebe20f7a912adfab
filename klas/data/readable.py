"""Which of the chosen images can be read: checked once, before any network sees them.

Every sweep of a study must see the same rows in the same order, so a damaged file can't simply be
skipped by the sweep that meets it. Instead the chosen rows are decoded beforehand, and each
damaged one is replaced by the next row of its class.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from klas.data.files import listed
from klas.data.images import Images
from klas.data.label_maps import LabelMaps
from klas.data.loading import in_order, loader_threads
from klas.data.pictures import UnreadableError
from klas.data.rows import balanced_order
from klas.errors import DataError
from klas.progress import Progress, Silent

FEW = 10  # damaged images that are always accepted
ACCEPTED = 0.01  # share of the samples that may be damaged beyond that


class Unreadable(NamedTuple):
    """An image that can't be decoded.

    Attributes:
        row: its number in the data set.
        where: its name for people.
        reason: why it can't be decoded.
    """

    row: int
    where: str
    reason: str


def find_unreadable(
    ref: str, images: Images, samples: int, seed: int, *, progress: Progress | None = None
) -> list[Unreadable]:
    """Decode a class-balanced subset once; return what must be left out of it.

    With these rows as ``without``, :func:`klas.data.rows.balanced_order` and
    :func:`klas.data.rows.subset` give only readable rows, for any number up to ``samples``.
    The result depends only on the files, ``samples`` and ``seed``, so it can be stored under the
    fingerprint. Images that are drawn need no check.

    Args:
        ref: the data set's name, for the sentence and the progress.
        images: the data set.
        samples: the greatest number of rows that anything will ask for.
        seed: as for the subset.
        progress: where every image is reported.

    Raises:
        DataError: more than 10 and more than 1 % of the samples can't be read, or no image of a
            class can.
    """
    if not images.stored:
        return []
    progress = progress or Silent()
    samples = min(samples, len(images.labels))
    limit = max(FEW, int(ACCEPTED * samples))
    progress.start("data", "images", samples)
    progress.label(ref)
    damaged: list[Unreadable] = []
    sound = np.zeros(len(images.labels), dtype=bool)
    while True:
        without = [bad.row for bad in damaged]
        chosen = balanced_order(images.labels, seed, without=without)[:samples]
        fresh = chosen[~sound[chosen]]
        if not len(fresh):
            return damaged
        # They come in the order of rows, so the sentence is always the same.
        for bad in _checked(images, fresh):
            progress.advance(1)
            if bad is None:
                continue
            damaged.append(bad)
            if len(damaged) > limit:
                raise DataError(
                    f"{ref}: more than {limit} of the {samples} images looked at cannot be read, "
                    f"first {_named(damaged)}; fetch or convert them again"
                )
        sound[fresh] = True
        _refuse_lost_classes(ref, images, damaged)


def passed_over_sentence(ref: str, counts: Mapping[str, int]) -> str:
    """Which files of a data set have names that are not those of images, for people.

    Examples:
        >>> passed_over_sentence("photos", {".heic": 30, ".txt": 1})
        'photos: left out 31 files whose names are not those of images: 30 .heic, 1 .txt'
    """
    total = sum(counts.values())
    files = (
        "1 file whose name is not that of an image"
        if total == 1
        else (f"{total:,} files whose names are not those of images")
    )
    most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return f"{ref}: left out {files}: {listed([f'{count:,} {kind}' for kind, count in most])}"


def unreadable_sentence(ref: str, damaged: Sequence[Unreadable]) -> str:
    """What was left out of a data set, for people."""
    images = "1 image" if len(damaged) == 1 else f"{len(damaged)} images"
    return f"{ref}: left out {images} that cannot be read: {_named(damaged)}"


def _checked(images: Images, rows: NDArray[np.int64]) -> Iterator[Unreadable | None]:
    maps = images if isinstance(images, LabelMaps) else None

    def check(row: int) -> Unreadable | None:
        try:
            images.image(row).convert("RGB")
            if maps is not None:
                maps.label_map(row)
        except UnreadableError as error:
            return Unreadable(row, images.where(row), error.reason)
        except DataError:  # it can be read, but is no map of this image
            raise
        except Exception as error:  # it can be decoded, but not converted to colours
            return Unreadable(row, images.where(row), str(error))
        return None

    threads = loader_threads(images)
    return in_order(check, rows.tolist(), threads=threads, ahead=16 * threads)


def _refuse_lost_classes(ref: str, images: Images, damaged: Sequence[Unreadable]) -> None:
    if not damaged:
        return
    classes = len(images.class_names)
    lost = np.bincount(images.labels[[bad.row for bad in damaged]], minlength=classes)
    gone = (lost > 0) & (lost == np.bincount(images.labels, minlength=classes))
    if gone.any():
        names = [name for name, none_left in zip(images.class_names, gone) if none_left]
        raise DataError(
            f"{ref}: not one image of {listed(names)} can be read ({_named(damaged)}); "
            "fetch or convert them again"
        )


def _named(damaged: Sequence[Unreadable]) -> str:
    return listed([f"{bad.where} ({bad.reason})" for bad in damaged], most=3)
