"""An HTML page that needs nothing but itself: its contents, figures and tables, light and dark.

Every word that comes in as text is escaped here; what is called ``html`` is taken as it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby

import plotly.graph_objects as go
import plotly.io as pio
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

# Nothing is fetched, whatever a name in the study says.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src data: blob:"
)
FONT = "system-ui, sans-serif"
SCHEMES = {
    "light": {"paper": "#ffffff", "ink": "#262730", "template": "plotly_white"},
    "dark": {"paper": "#11151b", "ink": "#e6e8eb", "template": "plotly_dark"},
}
STYLE = """
:root {color-scheme: light dark; --paper: #ffffff; --ink: #262730; --faint: #5b5f66;
       --line: #d9dce1; --shade: #f4f5f6; --link: #2f6fc4}
@media screen and (prefers-color-scheme: dark) {
  :root {--paper: #11151b; --ink: #e6e8eb; --faint: #a3a8b0; --line: #343b46; --shade: #1b212a;
         --link: #7db0ee}
}
html {scroll-padding-top: 1rem}
body {font: 16px/1.5 system-ui, sans-serif; margin: 0; color: var(--ink);
      background: var(--paper)}
a {color: var(--link)}
main, nav {max-width: 1060px; margin: 0 auto; padding: 1.5rem 1.25rem}
main {min-width: 0}
nav {font-size: .9rem; padding-bottom: 0}
nav ul {list-style: none; margin: 0; padding: 0}
nav ul ul {padding-left: 1rem}
nav a {text-decoration: none; overflow-wrap: anywhere}
nav a:hover, nav a:focus-visible {text-decoration: underline}
h1 {line-height: 1.2; margin-top: 0; overflow-wrap: anywhere}
h2 {margin-top: 3rem; border-bottom: 1px solid var(--line)}
h3 {margin-top: 2.5rem; overflow-wrap: anywhere}
figure {margin: 1.5rem 0}
figcaption, .note {color: var(--faint); max-width: 48rem}
.wide {overflow-x: auto; margin: 1rem 0}
table {border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums}
caption {text-align: left; font-weight: 600; padding-bottom: .25rem}
th, td {padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
        white-space: nowrap}
thead th {vertical-align: bottom; white-space: normal}
th:first-child, td:first-child {text-align: left; padding-left: 0}
.save {white-space: nowrap}
dt {font-weight: 600}
dd {margin: 0 0 .5rem; max-width: 48rem}
pre {background: var(--shade); padding: .75rem; overflow-x: auto; font-size: .85rem}
button {font: inherit; font-size: .8rem; color: inherit; border: 1px solid var(--line);
        border-radius: 4px; background: none; cursor: pointer}
@media (min-width: 1300px) {
  body {display: grid; grid-template-columns: 17rem minmax(0, 1fr)}
  nav {position: sticky; top: 0; max-height: 100vh; overflow-y: auto; box-sizing: border-box;
       padding: 1.75rem 0 1.5rem 1.5rem; margin: 0}
}
@media print {nav, button {display: none}}
"""
SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)");
const config = {displaylogo: false, displayModeBar: false, showTips: false, responsive: true};
const scheme = () => TEMPLATES[dark.matches ? "dark" : "light"];
addEventListener("DOMContentLoaded", () => {
  for (const given of document.querySelectorAll("figure > script")) {
    const {data, layout} = JSON.parse(given.textContent);
    const plot = given.parentElement.querySelector(".plot");
    Plotly.newPlot(plot, data, {...layout, template: scheme()}, config);
  }
});
dark.addEventListener("change", () => {
  for (const plot of document.querySelectorAll(".plot")) {
    Plotly.relayout(plot, {template: scheme()});
  }
});
function save(button, format) {  // pictures are light: they go into papers
  const plot = button.closest("figure").querySelector(".plot");
  const {width, height} = plot.getBoundingClientRect();
  const layout = {...plot.layout, template: TEMPLATES.light, width, height};
  Plotly.downloadImage({data: plot.data, layout}, {
    format, width, height, scale: 2, filename: plot.closest("figure").id,
  });
}
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that the table of contents leads to.

    Attributes:
        name: its place in the address.
        html: what follows its title, piece by piece.
        below: whether it belongs to the section before that does not.
    """

    name: str
    title: str
    html: list[str] = field(default_factory=list)
    below: bool = False


def page(title: str, lead: Iterable[str], sections: Sequence[Section]) -> bytes:
    """The whole file.

    Args:
        lead: pieces of HTML above the first section.
    """
    parts = [f"<h1>{escape(title)}</h1>", *lead]
    for section in sections:
        tag = "h3" if section.below else "h2"
        parts.append(f'<{tag} id="{section.name}">{escape(section.title)}</{tag}>')
        parts += section.html
    whole = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)} – KLAS</title><style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script>"
        f"<script>const TEMPLATES = {_templates()};{SCRIPT}</script></head>"
        f"<body>{_contents(sections)}<main>{''.join(parts)}</main></body></html>\n"
    )
    return whole.encode()


def _contents(sections: Sequence[Section]) -> str:
    def link(section: Section) -> str:
        return f'<li><a href="#{section.name}">{escape(section.title)}</a>'

    items = []
    for below, run in groupby(sections, key=lambda section: section.below):
        links = "".join(map(link, run))
        items.append(f"<ul>{links}</ul>" if below else links)
    return f'<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>'


def figure(name: str, drawn: go.Figure, caption: str, alt: str = "") -> str:
    """A figure with its caption and buttons that save it.

    Plotly writes JSON without a <, so that what it quotes ends no script.

    Args:
        name: its place in the address, and the name of its pictures.
        alt: says what it shows for those who don't see it; by default the caption does.
    """
    plot = drawn.to_plotly_json()
    plot["layout"].pop("template", None)  # the page has one for each scheme
    height = plot["layout"]["height"]
    buttons = " ".join(
        f"<button onclick=\"save(this, '{kind.lower()}')\">{kind}</button>"
        for kind in ("PNG", "SVG")
    )
    return (
        f'<figure id="{name}"><div class="plot" role="img" style="height: {height}px" '
        f'aria-label="{escape(alt or caption)}"></div>'
        f'<script type="application/json">{to_json_plotly(plot)}</script>'
        f'<figcaption>{escape(caption)} <span class="save">{buttons}</span></figcaption></figure>'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> str:
    """A table; a wide one is scrolled sideways."""

    def line(cells: Sequence[object], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(str(c))}</{tag}>' for c in cells)}</tr>"

    caption = f"<caption>{escape(title)}</caption>" if title else ""
    lines = "".join(line(row, "td") for row in rows)
    return (
        f'<div class="wide" tabindex="0"><table>{caption}<thead>{line(head, "th")}</thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def paragraph(text: str, *, note: bool = False) -> str:
    """Text as a paragraph; a note is set back."""
    return f'<p class="note">{escape(text)}</p>' if note else f"<p>{escape(text)}</p>"


def explained(terms: Iterable[tuple[str, str]]) -> str:
    """Words and what they mean."""
    return (
        "<dl>"
        + "".join(f"<dt>{escape(word)}</dt><dd>{escape(words)}</dd>" for word, words in terms)
        + "</dl>"
    )


def verbatim(text: str) -> str:
    """Text as it is in its file."""
    return f"<pre>{escape(text)}</pre>"


def _templates() -> str:
    """Plotly's own looks for both schemes, on the page's colours, as JSON."""
    found = {}
    for name, scheme in SCHEMES.items():
        plain = pio.templates[scheme["template"]].to_plotly_json()["layout"]
        paper = {"paper_bgcolor": scheme["paper"], "plot_bgcolor": scheme["paper"]}
        found[name] = {
            "layout": {**plain, **paper, "font": {"family": FONT, "color": scheme["ink"]}}
        }
    return str(to_json_plotly(found))
