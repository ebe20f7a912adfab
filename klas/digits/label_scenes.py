"""Digit scenes with a class for every pixel: the data of the built-in study for segmentation.

Every scene shows a few of scikit-learn's 8×8 digit scans, large, turned and partly one over
another, with smaller scraps of ink that only distract. A pixel is of the class of the digit whose
ink it shows, or of the ground; where ink is faint, at a digit's edge, it counts nowhere. The scans
are split as those of :mod:`klas.digits.scenes` are, and scene k of a split is a pure function of
(split, k).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from klas.data.label_maps import VOID
from klas.digits.scenes import CLASSES, SPLITS, Split, paste, scans_of

LABEL_SCENES_VERSION = 1  # part of every fingerprint: raise it when the pictures or maps change
CLASS_NAMES = ("ground", *(str(digit) for digit in range(CLASSES)))
SIZE = 24  # pixels a side
DIGITS = 2
SCRAPS = 2
INK, FAINT = 0.45, 0.2  # a pixel with more ink is the digit's; with less, the ground's
CHUNK = 500  # scenes drawn from one generator


def label_scene_chunk(split: Split, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Scenes index · CHUNK … of a split: images and label maps, (CHUNK, SIZE, SIZE) each."""
    scans, classes = scans_of(split)
    rng = np.random.default_rng([LABEL_SCENES_VERSION, SPLITS.index(split), 1, index])
    shape = (CHUNK, SIZE, SIZE)
    shown, maps = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    for _ in range(SCRAPS):
        rows = rng.integers(0, len(classes), CHUNK)
        scrap = paste(rng, scans, rows, size=(4.0, 6.0), tilt=3.1, canvas=SIZE)
        shown = np.maximum(shown, scrap * rng.uniform(0.4, 0.9, (CHUNK, 1, 1)))
    for _ in range(DIGITS):
        rows = rng.integers(0, len(classes), CHUNK)
        ink = paste(rng, scans, rows, size=(9.0, 12.0), tilt=0.3, canvas=SIZE)
        # Each lies over what was drawn before it, and hides it where it has ink.
        shown = ink * rng.uniform(0.6, 1.0, (CHUNK, 1, 1)) + (1 - ink) * shown
        number = np.broadcast_to(1 + classes[rows][:, None, None], shape)
        maps = np.where(ink > INK, number, np.where(ink > FAINT, VOID, maps)).astype(np.uint8)
    coarse = rng.uniform(-0.2, 0.2, (CHUNK, 3, 3))
    ground = zoom(coarse, (1, SIZE / 3, SIZE / 3), order=1, grid_mode=True, mode="nearest")
    contrast = rng.uniform(0.6, 0.9, (CHUNK, 1, 1))
    image = 0.5 + contrast * (shown - 0.5) + ground + rng.normal(0, 0.05, shape)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8), maps


def make_label_scenes(split: Split, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first ``count`` scenes of a split: images and label maps, (N, SIZE, SIZE) each."""
    chunks = [label_scene_chunk(split, k) for k in range(-(-count // CHUNK))]
    return (
        np.concatenate([images for images, _ in chunks])[:count],
        np.concatenate([maps for _, maps in chunks])[:count],
    )
