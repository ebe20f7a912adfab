"""The page of a report: contents, figures that quote anything, tables; nothing from a network."""

import json
import re
from html import unescape

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboard.report.page import (
    Figure,
    Glossary,
    Page,
    Paragraph,
    Section,
    StudyFile,
    Table,
    render,
)

EVIL = "</script><script>alert(1)</script><!-- <script> & ' \" <img src=x>"


def drawing(name="a"):
    layout = {"height": 321, "title": {"text": name}}
    return go.Figure(data=[{"type": "scatter", "y": np.array([1.0, np.nan, 3.0])}], layout=layout)


def body(*parts, title="T"):
    """What a page with these parts shows."""
    text = render(Page(title=title, lead=parts, sections=[Section(name="x", title=title)])).decode()
    return text.split("</head>")[1]


def test_the_contents_lead_to_every_section_in_its_place():
    sections = [
        Section(name="one", title="One & all"),
        Section(name="sub", title="Below", below=True),
        Section(name="sub2", title="Below, too", below=True),
        Section(name="two", title="Two", parts=[Paragraph(text="last")]),
        Section(name="end", title="At the end", below=True),
    ]
    text = render(Page(title="T", lead=[Paragraph(text="lead")], sections=sections)).decode()
    nav = re.search(r"<nav.*?</nav>", text)[0]
    assert re.findall(r'href="#(\w+)"', nav) == ["one", "sub", "sub2", "two", "end"]
    assert nav.index('<ul><li><a href="#sub"') < nav.index('href="#two"')
    assert re.findall(r'<ul>|</ul>|#\w+"', nav) == [
        "<ul>", '#one"', "<ul>", '#sub"', '#sub2"', "</ul>", '#two"', "<ul>", '#end"',
        "</ul>", "</ul>",
    ]  # fmt: skip
    assert '<h2 id="one">One &amp; all</h2><h3 id="sub">Below</h3>' in text
    assert '</h3><h2 id="two">Two</h2>' in text
    assert text.index("<p>lead") < text.index('id="one"') < text.index("<p>last")


def test_a_figure_keeps_its_data_and_its_height():
    text = body(Figure(name="f", chart=drawing(), caption='says "so"'))
    spec = json.loads(re.search(r"json\">(.*?)</script>", text)[1])
    assert spec["layout"]["height"] == 321
    assert "template" not in spec["layout"]  # the page's own, for light and for dark
    assert spec["data"][0]["type"] == "scatter"
    assert 'style="height: 321px"' in text
    assert unescape(re.search(r'aria-label="(says.*?)"', text)[1]) == 'says "so"'
    text = body(Figure(name="f", chart=drawing(), caption="caption", alt="it rises"))
    assert 'aria-label="it rises"' in text


@pytest.mark.parametrize(
    "part",
    [
        Figure(name="f", chart=drawing(EVIL), caption=EVIL, alt=EVIL),
        Table(head=[EVIL], rows=[[EVIL]], title=EVIL),
        Paragraph(text=EVIL),
        Glossary(terms=[(EVIL, EVIL)]),
        StudyFile(name=EVIL, text=EVIL),
    ],
)
def test_what_is_quoted_stays_text(part):
    text = body(part, title=EVIL)
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "<!--" not in text
    assert EVIL in unescape(text)
    whole = render(Page(title=EVIL, lead=[part])).decode()
    assert "<script>alert" not in whole


def test_a_name_in_a_figure_does_not_end_its_script():
    text = body(Figure(name="f", chart=drawing(EVIL), caption="c"))
    (spec,) = re.findall(r"<script[^>]*>(.*?)</script", text, flags=re.S)
    assert json.loads(spec)["layout"]["title"]["text"] == EVIL


def test_it_loads_nothing_and_may_not():
    part = Figure(name="f", chart=drawing(), caption="c")
    text = render(Page(title="T", lead=[part])).decode()
    assert "default-src 'none'" in text
    assert not re.search(r"""<(script|link|img|iframe)[^>]*(src|href)=""", text.split("</head>")[1])
    assert not re.search(r"""<script src|<link|@import""", text)


def test_it_is_light_and_dark():
    text = render(Page(title="T")).decode()
    style = re.search(r"<style>(.*?)</style>", text, flags=re.S)[1]
    light, dark = style.split("@media screen and (prefers-color-scheme: dark)")
    templates = json.loads(re.search(r"const TEMPLATES = (.*?);\n", text)[1])
    for scheme, rules in (("light", light), ("dark", dark)):
        layout = templates[scheme]["layout"]
        assert f"--paper: {layout['paper_bgcolor']}; --ink: {layout['font']['color']}" in rules
    assert templates["light"]["layout"]["paper_bgcolor"] == "#ffffff"
    assert templates["dark"]["layout"]["paper_bgcolor"] == "#11151b"


def test_a_cell_is_what_it_was_given():
    assert "<td>3</td><td>–</td>" in body(Table(head=["a", "b"], rows=[[3, "–"]]))
    assert "<caption>" not in body(Table(head=["a"], rows=[]))


def test_a_note_is_set_back():
    assert '<p class="note">less</p>' in body(Paragraph(text="less", note=True))
    assert "<p>more</p>" in body(Paragraph(text="more"))
