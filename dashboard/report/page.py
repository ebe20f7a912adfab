"""An HTML page that needs nothing but itself: its contents, figures and tables, light and dark.

A page is put together from the values below and rendered by the templates beside this file. They
escape every text; what figures quote goes through ``tojson``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import plotly.graph_objects as go
import plotly.io as pio
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

FONT = "system-ui, sans-serif"
SCHEMES = {
    "light": {"paper": "#ffffff", "ink": "#262730", "template": "plotly_white"},
    "dark": {"paper": "#11151b", "ink": "#e6e8eb", "template": "plotly_dark"},
}
"""The page's colours, which its figures have too, and Plotly's template for the rest of them."""

Cell = str | int


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """A paragraph of text; a note is set back."""

    template: ClassVar[str] = "paragraph.html"
    text: str
    note: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: its column heads, its rows of as many cells, and a title where it needs one."""

    template: ClassVar[str] = "table.html"
    head: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure with its caption and buttons that save it.

    Attributes:
        name: its id on the page, and the file name of its pictures.
        chart: its layout has a height.
        alt: says what it shows to those who don't see it; without one, the caption does.
    """

    template: ClassVar[str] = "figure.html"
    name: str
    chart: go.Figure
    caption: str
    alt: str = ""

    @property
    def drawing(self) -> dict[str, Any]:
        """Data and layout without Plotly's template: the page has one for each scheme."""
        drawing: dict[str, Any] = self.chart.to_plotly_json()
        drawing["layout"].pop("template", None)
        return drawing


@dataclass(frozen=True, kw_only=True)
class Glossary:
    """Terms, each with its meaning."""

    template: ClassVar[str] = "glossary.html"
    terms: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """A study's name and the text of its file, as it is."""

    template: ClassVar[str] = "study_file.html"
    name: str
    text: str


Part = Paragraph | Table | Figure | Glossary | StudyFile


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that the table of contents leads to.

    Attributes:
        name: its id on the page.
        below: whether it belongs to the last section before it that does not.
    """

    name: str
    title: str
    parts: Sequence[Part] = ()
    below: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole page.

    Attributes:
        lead: what stands above the first section.
    """

    title: str
    lead: Sequence[Part] = ()
    sections: Sequence[Section] = ()


def render(page: Page) -> bytes:
    """The page as one HTML file."""
    template = _environment().get_template("page.html")
    text = template.render(
        page=page,
        schemes=SCHEMES,
        font=FONT,
        plotly_js=get_plotlyjs(),
        plotly_templates={name: _plotly_template(**scheme) for name, scheme in SCHEMES.items()},
    )
    return text.encode()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dashboard.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.policies["json.dumps_function"] = to_json_plotly  # it knows numpy's arrays
    environment.policies["json.dumps_kwargs"] = {}
    return environment


def _plotly_template(paper: str, ink: str, template: str) -> dict[str, Any]:
    """Plotly's own template on the page's colours."""
    layout = pio.templates[template].to_plotly_json()["layout"]
    colours = {"paper_bgcolor": paper, "plot_bgcolor": paper}
    return {"layout": {**layout, **colours, "font": {"family": FONT, "color": ink}}}
