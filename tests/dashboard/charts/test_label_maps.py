import numpy as np
import pytest

from dashboard.charts.label_maps import (
    LEAST_PIXELS,
    NOWHERE,
    class_colours,
    coloured,
    enlarged,
    legend,
)


def test_every_class_has_a_colour_of_its_own_and_keeps_it():
    many = class_colours(255)
    assert len(np.unique(many, axis=0)) == 255
    assert (class_colours(11) == many[:11]).all()
    assert list(NOWHERE) not in many.tolist()
    few = class_colours(12).astype(int)
    apart = np.abs(few[:, None] - few[None]).sum(-1)[~np.eye(12, dtype=bool)]
    assert apart.min() > 60


def test_pixels_have_the_colours_of_their_classes():
    maps = np.array([[0, 2], [255, 3]], dtype=np.uint8)
    picture = coloured(maps, 3)
    colours = class_colours(3)
    assert picture.shape == (2, 2, 3)
    assert (picture[0] == colours[[0, 2]]).all()
    assert picture[1].tolist() == [list(NOWHERE)] * 2  # 3 is no class of three


@pytest.mark.parametrize(("side", "times"), [(24, 4), (96, 1), (352, 1), (90, 2)])
def test_small_pictures_are_enlarged_by_whole_pixels(side, times):
    grey = np.arange(side * side, dtype=np.uint8).reshape(side, side, 1)
    picture = enlarged(grey)
    assert picture.shape == (side * times, side * times, 3)
    assert min(picture.shape[:2]) >= LEAST_PIXELS
    assert (picture[::times, ::times] == grey).all()


def test_the_legend_names_every_class_and_lets_no_name_be_html():
    html = legend(["road", "<b>sky</b>"])
    assert "road" in html
    assert "&lt;b&gt;sky&lt;/b&gt;" in html
    assert "counts nowhere" in html
    assert html.count("background:rgb") == 3
