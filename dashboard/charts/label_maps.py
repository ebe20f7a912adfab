"""Label maps as pictures: a colour for every class, and the legend of these. Pure."""

import colorsys
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

NOWHERE = (128, 134, 145)
"""The colour of pixels that count nowhere; no class has it, for its own are not grey."""
GROUND = (62, 74, 92)
"""The colour of class 0, which often is the ground of everything: a quiet one."""
GOLDEN = 0.618034  # of the circle of hues: neighbours in number are far apart in colour
LEAST_PIXELS = 96  # of a shown picture's side; smaller ones are enlarged by whole pixels


def class_colours(classes: int) -> Bytes:
    """(K, 3) a colour for each class, the same whatever the study.

    Examples:
        >>> class_colours(2).tolist()
        [[62, 74, 92], [77, 101, 160]]
    """
    kinds = ((0.6, 0.85), (0.52, 0.63), (0.45, 0.97))  # saturation and brightness, by turns
    colours = [
        colorsys.hsv_to_rgb(number * GOLDEN % 1, *kinds[number % len(kinds)])
        for number in range(1, classes)
    ]
    return np.vstack([[GROUND], (255 * np.array(colours)).astype(int)]).astype(np.uint8)


def coloured(maps: Bytes, classes: int) -> Bytes:
    """(…, 3) of class numbers (…); what is no class is :data:`NOWHERE`."""
    table = np.full((256, 3), NOWHERE, dtype=np.uint8)
    table[:classes] = class_colours(classes)
    return table[maps]


def enlarged(picture: Bytes) -> Bytes:
    """(H, W, 3) with every pixel repeated until a small picture is large enough to be seen."""
    if picture.shape[2] == 1:
        picture = picture.repeat(3, axis=2)
    times = max(1, -(-LEAST_PIXELS // min(picture.shape[:2])))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def legend(names: Sequence[str]) -> str:
    """Each class's colour and name, as a piece of HTML in the colour of the theme's text."""
    colours = [*class_colours(len(names)).tolist(), NOWHERE]
    entries = (
        '<span style="white-space:nowrap"><span style="display:inline-block;width:0.8em;'
        f'height:0.8em;margin-right:0.3em;border-radius:2px;background:rgb{tuple(colour)}"></span>'
        f"{escape(name)}</span>"
        for colour, name in zip(colours, [*names, "counts nowhere"])
    )
    return (
        '<div style="font-size:13px;display:flex;flex-wrap:wrap;gap:0.2em 1em">'
        f"{''.join(entries)}</div>"
    )
