"""Folders of images and label maps, as small as they can be."""

import numpy as np
from PIL import Image

CLASSES = ("ground", "left", "right")


def scene(seed, size=(16, 24)):
    """(H, W) a grey picture and its classes: a bright bar left or right; one void pixel."""
    random = np.random.default_rng(seed)
    height, width = size
    classes = np.zeros(size, dtype=np.uint8)
    side, top = 1 + seed % 2, int(random.integers(0, height // 2))
    start = 0 if side == 1 else width // 2
    classes[top : top + height // 2, start : start + width // 2] = side
    pixels = np.where(classes > 0, 60 + 70 * classes.astype(int), 30)
    classes[0, width // 2] = 255
    noisy = pixels + random.normal(0, 10, size)
    return noisy.clip(0, 255).astype(np.uint8), classes


def write(root, count=8, *, size=(16, 24), first=0):
    """A data set; its file of classes lies beside it."""
    for folder in ("images", "labels"):
        (root / folder / "town").mkdir(parents=True)
    for k in range(count):
        pixels, classes = scene(first + k, size)
        Image.fromarray(pixels).save(root / "images" / "town" / f"{k}.jpg", quality=95)
        Image.fromarray(classes).save(root / "labels" / "town" / f"{k}.png")
    names = root.parent / "classes.txt"
    names.write_text("\n".join(CLASSES) + "\n")
    return root, names
