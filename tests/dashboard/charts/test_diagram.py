"""The diagram of a stitched network, read as the HTML that it is."""

import copy
from html.parser import HTMLParser

import pytest

from dashboard.charts.diagram import alt_text, diagram, layer_shape
from klas.results.pair import pairs_of

EVIL = """<img src=x onerror='alert(1)'>"&"""


class Reader(HTMLParser):
    """The elements' attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.depth = [], "", 0
        self.feed(text)
        assert self.depth == 0

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.depth += 1

    def handle_endtag(self, tag):
        self.depth -= 1

    def handle_data(self, data):
        self.text += data


@pytest.fixture(params=[0, 2])
def pair(request, computed):
    return pairs_of(copy.deepcopy(computed[1]))[request.param]


def boxes(read):
    """Title and style of every box: the source's, then the target's."""
    return [(a["title"], a["style"]) for _, a in read.elements if "title" in a]


def test_blocks_in_use_are_solid_and_skipped_ones_faint(pair):
    n, m = pair.source["blocks"], pair.target["blocks"]
    for row, (i, j) in enumerate(pair.stitches):
        actual = boxes(Reader(diagram(pair, row)))
        assert len(actual) == n + m + 4
        used = [title.endswith("in use") for title, _ in actual]
        assert used[: n + 2] == [k <= i for k in range(n + 2)]
        assert used[n + 2 :] == [k > j for k in range(m + 2)]
        assert ["dashed" not in style for _, style in actual] == used
        assert actual[i][0].startswith(f"block {i}: {pair.source['cuts'][i]}")
        assert actual[n + 2][0].startswith("stem")
        assert actual[-1][0].startswith("head")


def test_the_stitch_layer_reaches_from_the_last_used_to_the_first_used(pair):
    most = max(pair.source["blocks"], pair.target["blocks"]) + 2
    for row, (i, j) in enumerate(pair.stitches):
        text = diagram(pair, row)
        for place in (i, j + 1):
            assert f"left:calc({100 * (place + 0.5) / most:.3f}% - 1px)" in text
        style = text.split("margin-left:")[1].split("%")
        left, width = float(style[0]), float(style[1].rsplit(":", 1)[1])
        assert -0.01 <= left <= left + width <= 100.01
        ends = [100 * (place + 0.5) / most for place in (i, j + 1)]
        assert left <= min(ends) + 0.01
        assert max(ends) <= left + width + 0.01


def test_the_alternative_text_says_what_the_picture_shows(pair):
    row = len(pair.stitches) - 1
    i, j = pair.stitches[row]
    outer = Reader(diagram(pair, row)).elements[0][1]
    assert outer["role"] == "img"
    assert outer["aria-label"] == alt_text(pair, row)
    n, m = pair.source["blocks"], pair.target["blocks"]
    assert f"blocks 1 to {i} of {n}" in outer["aria-label"]
    assert f"blocks {j + 1} to {m} of {m}" in outer["aria-label"]
    have, want = pair.source["layouts"][i], pair.target["layouts"][j]
    assert f"{have['channels']} → {want['channels']} channels" in outer["aria-label"]


def test_the_shape_counts_prefix_tokens_and_takes_the_smaller_grid(pair):
    pair.source["layouts"][1].update(grid=[14, 14], channels=5)
    pair.target["layouts"][1].update(grid=[7, 7], channels=9, prefix=0)
    assert layer_shape(pair, 1, 1) == "5 → 9 channels on a grid of 7 × 7"
    pair.target["layouts"][1]["prefix"] = 1
    assert layer_shape(pair, 1, 1).endswith("7 × 7 and 1 prefix token")
    pair.target["layouts"][1]["prefix"] = 2
    assert layer_shape(pair, 1, 1).endswith("7 × 7 and 2 prefix tokens")


def test_a_strangers_names_are_shown_as_text(pair):
    for anchor, side in ((pair.source, "source"), (pair.target, "target")):
        pair.raw[side] = anchor["name"] = f"{EVIL} {side}"
        anchor["cuts"] = [EVIL] * len(anchor["cuts"])
    text = diagram(pair, 0)
    read = Reader(text)
    assert {tag for tag, _ in read.elements} == {"div", "b"}
    assert f"{EVIL} source" in read.text
    assert f"block 1: {EVIL}, in use" in [title for title, _ in boxes(read)]
    assert "<img" not in text
