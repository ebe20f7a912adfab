import io

import numpy as np
import pytest
from PIL import Image


def picture_bytes(seed, kind="PNG", size=(20, 20)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind)
    return held.getvalue()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for number, (name, count) in enumerate((("ant", 5), ("bee", 3), ("cow", 4))):
        (root / name).mkdir(parents=True)
        for k in range(count):
            (root / name / f"{k}.png").write_bytes(picture_bytes(10 * number + k))
    return root
