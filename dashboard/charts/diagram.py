"""The diagram of a stitched network, as a piece of HTML. Pure.

HTML and not SVG, which Streamlit's filter takes out; so its text and lines have the colour of the
theme's text.
"""

from collections.abc import Sequence
from html import escape

from dashboard.charts.blocks import anchor_colour
from klas.results.documents.sources import AnchorEntry
from klas.results.pair import Pair
from klas.results.stitch_list import stitch_layer_entry

BOX = "box-sizing:border-box;border-radius:3px;"
USED = BOX + "border:2px solid {colour};background:{colour}55;font-weight:600;"
SKIPPED = BOX + "border:1px dashed #80869199;opacity:0.55;"
NUMBERED, WORDED = 32, 12  # boxes: narrower ones have no room for a number, for a word
LEAST_WIDTH = 74  # of the stitch layer's box, in percent, for its text


def diagram(pair: Pair, row: int) -> str:
    """One stitched network: both anchors' blocks, those in use solid, and the stitch layer.

    Its alternative text is :func:`alt_text`. A block's name is its tooltip.
    """
    i, j = (int(n) for n in pair.stitches[row])
    most = max(pair.source["blocks"], pair.target["blocks"]) + 2  # with stem and head
    top = _blocks(pair, pair.source, range(i + 1), most)
    bottom = _blocks(pair, pair.target, range(j + 1, pair.target["blocks"] + 2), most)
    leaves, enters = ((100 * (place + 0.5) / most) for place in (i, j + 1))
    return (
        f'<div role="img" aria-label="{escape(alt_text(pair, row))}"'
        ' style="font-size:12px;line-height:1.3">'
        f"<div>{escape(pair.source['name'])}</div>{top}"
        f"{_stitch_layer(pair, i, j, leaves, enters)}"
        f"{bottom}<div>{escape(pair.target['name'])}</div></div>"
    )


def alt_text(pair: Pair, row: int) -> str:
    """What the diagram shows, as one sentence of plain text."""
    i, j = (int(n) for n in pair.stitches[row])
    layer = layer_shape(pair, i, j)
    n, m = pair.source["blocks"], pair.target["blocks"]
    rest = f"blocks {j + 1} to {m} of {m}" if j < m else "no block"
    return (
        f"{pair.source['name']}: stem and blocks 1 to {i} of {n}; a stitch layer, {layer}; then "
        f"{pair.target['name']}: {rest} and the head."
    )


def layer_shape(pair: Pair, i: int, j: int) -> str:
    """A stitch layer's channels, its grid, and the prefix tokens that it makes."""
    layer = stitch_layer_entry(pair.source["layouts"][i], pair.target["layouts"][j])
    prefix = {0: "", 1: " and 1 prefix token"}.get(
        layer["prefix"], f" and {layer['prefix']} prefix tokens"
    )
    grid = " × ".join(map(str, layer["grid"]))
    return f"{layer['in']} → {layer['out']} channels on a grid of {grid}{prefix}"


def _blocks(pair: Pair, anchor: AnchorEntry, used: Sequence[int], most: int) -> str:
    """An anchor's stem (0), blocks and head, each as wide as all others of the diagram."""
    last = anchor["blocks"] + 1
    boxes = []
    for k in range(last + 1):
        what = {0: "stem", last: "head"}.get(k, f"block {k}: {anchor['cuts'][min(k, last - 1)]}")
        style = USED.format(colour=anchor_colour(pair, anchor)) if k in used else SKIPPED
        text = str(k) if most <= NUMBERED else ""
        if k in (0, last):
            text = what if most <= WORDED else ""
        state = "in use" if k in used else "skipped"
        corner = "border-radius:12px 3px 3px 12px;" if k == 0 else ""
        corner = "border-radius:3px 12px 12px 3px;" if k == last else corner
        boxes.append(
            f'<div style="width:{100 / most:.4f}%;padding:0 1px;box-sizing:border-box">'
            f'<div title="{escape(what)}, {state}" style="{style}{corner}height:26px;'
            f'font-size:10.5px;line-height:22px;text-align:center;overflow:hidden">{text}'
            "</div></div>"
        )
    return f'<div style="display:flex">{"".join(boxes)}</div>'


def _stitch_layer(pair: Pair, i: int, j: int, leaves: float, enters: float) -> str:
    """The layer's box between the two networks, with a line to each.

    It lies under the last source block and over the first of the target's, in percent of the width.
    """
    low, high = min(leaves, enters) - 2, max(leaves, enters) + 2
    width = min(max(high - low, LEAST_WIDTH), 100.0)
    left = min(max((low + high - width) / 2, 0.0), 100 - width)

    def line(at: float, where: str) -> str:
        return (
            f'<div style="position:absolute;left:calc({at:.3f}% - 1px);{where}:0;height:9px;'
            'border-left:2px solid currentColor"></div>'
        )

    return (
        '<div style="position:relative;padding:9px 0">'
        f"{line(leaves, 'top')}{line(enters, 'bottom')}"
        f'<div style="margin-left:{left:.3f}%;width:{width:.3f}%;{BOX}text-align:center;'
        f'border:2px solid currentColor;padding:1px 4px"><b>T</b> {layer_shape(pair, i, j)}'
        "</div></div>"
    )
