from itertools import combinations, cycle, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts.methods import STYLES
from dashboard.charts.theme import ANCHOR, ANCHOR_COLOURS, PAIR_COLOURS, PAIR_SYMBOLS, log_ticks

PAGES = ("#ffffff", "#11151b")
SIGHT = {  # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
    "all colours": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(  # of linear sRGB, D65
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)

positive = st.floats(1e-12, 1e12)


@given(st.lists(positive, min_size=1))
def test_ticks_are_round_and_inside_or_the_ends(values):
    array = np.array(values)
    ticks = log_ticks(array)
    assert len(ticks) >= 2
    assert ticks.min() >= array.min() * (1 - 1e-9)
    assert ticks.max() <= array.max() * (1 + 1e-9)
    mantissas = [float(f"{t:e}".split("e")[0]) for t in ticks]
    ends = ticks.tolist() == [array.min(), array.max()]
    assert ends or all(min(abs(m - r) for r in (1, 2, 5, 10)) < 1e-6 for m in mantissas)


def linear(colour):
    """(3,) linear RGB of #rrggbb."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(colour, sight):
    """(3,) CIELAB of a colour as such eyes see it."""
    seen = np.clip(np.array(SIGHT[sight]) @ linear(colour), 0, 1)
    ratio = XYZ @ seen / (XYZ @ np.ones(3))
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(
    "colours",
    [(*PAIR_COLOURS, ANCHOR), ANCHOR_COLOURS, tuple(style.colour for style in STYLES.values())],
    ids=["pairs", "anchors", "methods"],
)
def test_colours_that_stand_together_are_told_apart_by_all_eyes(colours, sight):
    seen = [lab(colour, sight) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 15


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("colour", sorted({*PAIR_COLOURS, *ANCHOR_COLOURS}))
def test_colours_are_seen_on_the_light_page_and_on_the_dark_one(colour, page):
    dark, light = sorted(float(XYZ[1] @ linear(c)) for c in (colour, page))
    assert (light + 0.05) / (dark + 0.05) >= 3  # WCAG 2, of graphical objects


def test_pairs_have_shapes_too_and_looks_of_their_own():
    looks = list(islice(zip(cycle(PAIR_COLOURS), cycle(PAIR_SYMBOLS)), 30))
    assert len(set(looks)) == 30
    assert len({symbol for _, symbol in looks[: len(PAIR_COLOURS)]}) == len(PAIR_COLOURS)


def test_without_a_positive_value_there_is_one_tick():
    assert log_ticks(np.array([0.0, -1.0])).tolist() == [1.0]
