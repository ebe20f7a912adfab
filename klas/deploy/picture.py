"""Accuracy against cost as a picture (SVG), without a library that draws."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from klas.selection.curves import front_rows

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 24, 56
_TICKS = 5
_ANCHOR, _STITCH = "#5c6066", "#2f7ed8"


class Point(NamedTuple):
    """A network in the picture: its cost, its accuracy in percent, and whether it is an anchor."""

    name: str
    cost: float
    percent: float
    anchor: bool


def tradeoff_svg(points: Sequence[Point], cost: str) -> str:
    """Stitches as dots and anchors as diamonds, with the line of those that none beats.

    Args:
        cost: the label of the axis.

    Examples:
        >>> points = [Point("a", 1.0, 80.0, True), Point("a:1-b:2", 2.0, 90.0, False)]
        >>> svg = tradeoff_svg(points, "MMACs")
        >>> svg.count("<circle"), svg.count("<path"), "a:1-b:2" in svg
        (1, 2, True)
    """
    costs = np.array([point.cost for point in points])
    heights = np.array([point.percent for point in points])
    x_ticks, y_ticks = _ticks(costs), _ticks(heights)
    across, up = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])

    def x(value: float) -> float:
        share = (value - across[0]) / (across[1] - across[0])
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        share = (value - up[0]) / (up[1] - up[0])
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img" '
        'aria-label="Accuracy against cost of every member">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    lines += [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}" '
        f'stroke="#e5e5e5"/><text x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end" '
        f'fill="#555">{tick:g}</text>'
        for tick in y_ticks
    ]
    lines += [
        f'<text x="{x(tick)}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle" '
        f'fill="#555">{tick:g}</text>'
        for tick in x_ticks
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    lines.append(
        f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle" fill="#333">'
        f"{escape(cost)}</text>"
        f'<text transform="translate(16 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle" '
        'fill="#333">top-1 (%)</text>'
    )
    front = [points[row] for row in front_rows(costs, heights)]
    steps = f"M{x(front[0].cost)} {y(front[0].percent)}"
    for point in front[1:]:
        steps += f"H{x(point.cost)}V{y(point.percent)}"
    lines.append(f'<path d="{steps}" fill="none" stroke="{_STITCH}" stroke-width="1.5"/>')
    for point in points:
        title = f"<title>{escape(point.name)}: {point.percent:.1f} %</title>"
        cx, cy = x(point.cost), y(point.percent)
        if point.anchor:
            lines.append(
                f'<path d="M{cx} {cy - 7}l7 7l-7 7l-7 -7z" fill="{_ANCHOR}">{title}</path>'
            )
        else:
            lines.append(f'<circle cx="{cx}" cy="{cy}" r="4.5" fill="{_STITCH}">{title}</circle>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _ticks(values: NDArray[np.float64]) -> list[float]:
    """Round numbers that span the values."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9 * max(1.0, abs(high)):  # no step fits in between in double precision
        low, high = low - 1, high + 1
    rough = (high - low) / _TICKS
    power = 10 ** np.floor(np.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = np.floor(low / step)
    count = int(np.ceil(high / step) - first) + 1
    return [float(round((first + k) * step, 10)) for k in range(count)]
