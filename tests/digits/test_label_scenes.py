import numpy as np
import pytest

from klas.data.label_maps import VOID, open_label_maps
from klas.digits.images import LABEL_PREFIX, LABEL_SIZES
from klas.digits.label_scenes import CHUNK, CLASS_NAMES, SIZE, make_label_scenes
from klas.digits.scenes import SPLITS
from klas.errors import DataError


def test_scenes_are_a_function_of_split_and_number():
    images, maps = make_label_scenes("val", CHUNK + 20)
    again, maps_again = make_label_scenes("val", 30)
    assert (images[:30] == again).all()
    assert (maps[:30] == maps_again).all()
    assert images.shape == maps.shape == (CHUNK + 20, SIZE, SIZE)
    assert images.dtype == maps.dtype == np.uint8
    other, _ = make_label_scenes("test", 30)
    assert (other != again).any()


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_is_there_about_as_often_and_edges_count_nowhere(split):
    _, maps = make_label_scenes(split, CHUNK)
    counts = np.bincount(maps.ravel(), minlength=256)
    assert set(np.flatnonzero(counts)) == {*range(len(CLASS_NAMES)), VOID}
    digits = counts[1 : len(CLASS_NAMES)]
    assert digits.min() > digits.mean() / 2
    assert 0.01 < counts[VOID] / maps.size < 0.1


def test_a_digits_ink_is_brighter_than_the_ground():
    images, maps = make_label_scenes("train", CHUNK)
    digit, ground = (maps > 0) & (maps != VOID), maps == 0
    assert images[digit].mean() > images[ground].mean() + 50


def test_the_scenes_are_a_data_set_of_label_maps():
    opened = open_label_maps(f"{LABEL_PREFIX}val", classes=None, void=VOID)
    assert opened.class_names == CLASS_NAMES
    assert len(opened.labels) == LABEL_SIZES["val"]
    images, maps = make_label_scenes("val", 3)
    assert (np.asarray(opened.image(2)) == images[2]).all()
    assert (np.asarray(opened.label_map(2)) == maps[2]).all()
    with pytest.raises(DataError, match="there is no such split; the built-in data are klas/dig"):
        open_label_maps(f"{LABEL_PREFIX}all", classes=None, void=VOID)
