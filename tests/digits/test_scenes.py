import numpy as np
import pytest

from klas.digits.scenes import SPLITS, make_scenes, scans_of, scene_labels


def test_scenes_are_a_function_of_split_and_number():
    images, labels = make_scenes("val", 1200)
    again, _ = make_scenes("val", 30)
    assert (images[:30] == again).all()
    assert (scene_labels("val", 1200) == labels).all()
    assert images.shape == (1200, 16, 16)
    assert images.dtype == np.uint8
    other, _ = make_scenes("test", 30)
    assert (other != again).any()


def test_the_splitsscans_of_are_disjoint_and_together_all_of_them():
    rows = [set(map(bytes, scans_of(split)[0])) for split in SPLITS]
    counts = [len(scans_of(split)[0]) for split in SPLITS]
    assert sum(counts) == 1797
    assert not rows[0] & rows[1]
    assert not rows[0] & rows[2]
    assert not rows[1] & rows[2]


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_is_about_equally_frequent(split):
    counts = np.bincount(scene_labels(split, 5000), minlength=10)
    assert counts.min() > 400
