"""The digits data: small cluttered scenes composed from scikit-learn's 8×8 digit scans.

Every scene shows one large digit, its class, over smaller digits that only distract, on a sloping
background with noise. The scans of the training, validation and test splits are disjoint, so
accuracy on validation scenes is accuracy on unseen handwriting. Scene k of a split is a pure
function of (split, k).
"""

from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from sklearn.datasets import load_digits

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SCENES_VERSION = 1  # part of every fingerprint: raise it when the pictures change
CLASSES = 10
SIZE = 16  # pixels a side
DISTRACTORS = 2
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}  # of the 1,797 scans
CHUNK = 1000  # scenes drawn from one generator


@cache
def scans_of(split: Split) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The split's scans, (M, 8, 8) in [0, 1], and their classes (M,), in one fixed random order."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    ends = np.cumsum([round(len(order) * SHARES[s]) for s in SPLITS[:-1]])
    rows = np.split(order, ends)[SPLITS.index(split)]
    return (digits.images[rows] / 16).astype(np.float32), digits.target[rows].astype(np.int64)


def paste(
    rng: np.random.Generator,
    scans: NDArray[np.float32],
    rows: NDArray[np.int64],
    *,
    size: tuple[float, float],
    tilt: float,
    canvas: int = SIZE,
) -> NDArray[np.float32]:
    """Draw scan rows[n] into canvas n at a random place, size (pixels) and tilt (radians).

    Returns (N, canvas, canvas) in [0, 1]; sampled bilinearly, zero outside the scan.
    """
    n = len(rows)
    side = rng.uniform(*size, n)
    angle = rng.uniform(-tilt, tilt, n)
    # The digit's square stays on the canvas, apart from its empty margin of about a pixel.
    low, high = side / 2 - 1, canvas - side / 2
    centre = rng.uniform(low, np.maximum(low, high), (2, n))
    y, x = np.meshgrid(np.arange(canvas), np.arange(canvas), indexing="ij")
    dy = (y[None] - centre[0][:, None, None]) * (8 / side)[:, None, None]
    dx = (x[None] - centre[1][:, None, None]) * (8 / side)[:, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    where = np.stack(
        [
            np.broadcast_to(rows[:, None, None], dy.shape),
            cos * dy - sin * dx + 3.5,
            sin * dy + cos * dx + 3.5,
        ]
    )
    drawn: NDArray[np.float32] = map_coordinates(
        scans, where, order=1, mode="constant", output=np.float32
    )
    return drawn


def _generator(split: Split, index: int) -> np.random.Generator:
    return np.random.default_rng([SCENES_VERSION, SPLITS.index(split), 0, index])


def scene_labels(split: Split, count: int) -> NDArray[np.int64]:
    """(count,) the classes of the first scenes of a split, without drawing them."""
    chunks = [_generator(split, k).integers(0, CLASSES, CHUNK) for k in range(-(-count // CHUNK))]
    return np.concatenate(chunks)[:count]


def scene_chunk(split: Split, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Scenes index · CHUNK … of a split: images (CHUNK, SIZE, SIZE), classes (CHUNK,)."""
    scans, classes = scans_of(split)
    rng = _generator(split, index)
    labels = rng.integers(0, CLASSES, CHUNK)  # first, so that scene_labels sees the same
    # A uniform draw from the scans of the class.
    by_class = [np.flatnonzero(classes == c) for c in range(CLASSES)]
    picks = rng.random(CHUNK)
    rows = np.array([by_class[c][int(u * len(by_class[c]))] for c, u in zip(labels, picks)])
    scene = paste(rng, scans, rows, size=(10.0, 14.0), tilt=0.25)
    clutter = np.zeros_like(scene)
    for _ in range(DISTRACTORS):
        others = rng.integers(0, len(classes), CHUNK)
        small = paste(rng, scans, others, size=(4.0, 6.0), tilt=3.1)
        clutter = np.maximum(clutter, small * rng.uniform(0.4, 0.9, (CHUNK, 1, 1)))
    ink = np.maximum(scene, clutter)
    slope = rng.uniform(-0.2, 0.2, (2, CHUNK, 1, 1))
    ramp = np.linspace(-1, 1, SIZE)
    ground = slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    contrast = rng.uniform(0.6, 0.9, (CHUNK, 1, 1))
    image = 0.5 + contrast * (ink - 0.5) + 0.5 * ground + rng.normal(0, 0.05, scene.shape)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8), labels


def make_scenes(split: Split, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first ``count`` scenes of a split: images (N, SIZE, SIZE), classes (N,)."""
    chunks = [scene_chunk(split, k) for k in range(-(-count // CHUNK))]
    return (
        np.concatenate([images for images, _ in chunks])[:count],
        np.concatenate([labels for _, labels in chunks])[:count],
    )
