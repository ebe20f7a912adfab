"""The page of a report: contents, figures that quote anything, tables; nothing from a network."""

import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboard.report.page import Section, explained, figure, page, paragraph, table, verbatim

EVIL = "</script><script>alert(1)</script><img src=x>"


def drawing(name="a"):
    layout = {"height": 321, "title": {"text": name}}
    return go.Figure(data=[{"type": "scatter", "y": np.array([1.0, np.nan, 3.0])}], layout=layout)


def test_the_contents_lead_to_every_section_in_its_place():
    sections = [
        Section(name="one", title="One & all"),
        Section(name="sub", title="Below", below=True),
        Section(name="two", title="Two", html=["<p>last</p>"]),
    ]
    text = page("T", ["<p>lead</p>"], sections).decode()
    nav = re.search(r"<nav.*?</nav>", text)[0]
    assert re.findall(r'href="#(\w+)"', nav) == ["one", "sub", "two"]
    assert nav.index('<ul><li><a href="#sub"') < nav.index('href="#two"')
    assert '<h2 id="one">One &amp; all</h2><h3 id="sub">Below</h3><h2 id="two">Two</h2>' in text
    assert text.index("<p>lead") < text.index('id="one"') < text.index("<p>last")


def test_a_figure_keeps_its_data_and_its_height():
    text = figure("f", drawing(), 'says "so"')
    found = json.loads(re.search(r"json\">(.*?)</script>", text)[1])
    assert found["layout"]["height"] == 321
    assert "template" not in found["layout"]  # the page's own, for light and for dark
    assert found["data"][0]["type"] == "scatter"
    assert 'style="height: 321px"' in text
    assert 'aria-label="says &quot;so&quot;"' in text
    assert 'aria-label="it rises"' in figure("f", drawing(), "caption", "it rises")


@pytest.mark.parametrize(
    "part",
    [
        figure("f", drawing(EVIL), EVIL, EVIL),
        table([EVIL], [[EVIL]], EVIL),
        paragraph(EVIL),
        explained([(EVIL, EVIL)]),
        verbatim(EVIL),
    ],
)
def test_what_is_quoted_stays_text(part):
    text = page(EVIL, [part], [Section(name="x", title=EVIL)]).decode()
    assert "<script>alert" not in text
    assert "<img" not in text.split("</head>")[1]


def test_it_loads_nothing_and_may_not():
    text = page("T", [figure("f", drawing(), "c")], []).decode()
    assert "default-src 'none'" in text
    assert not re.search(r"""<(script|link|img|iframe)[^>]*(src|href)=""", text.split("</head>")[1])
    assert not re.search(r"""<script src|<link|@import""", text)


def test_a_cell_is_what_it_was_given():
    assert "<td>3</td><td>–</td>" in table(["a", "b"], [[3, "–"]])
