"""A stranger's text where markup is read: Markdown on the pages, HTML in the figures."""

import html
import re


def plain(text: str) -> str:
    """Text that is shown as it is: no link, image, formula or icon."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def chart_text(name: str, most: int = 60) -> str:
    """A name that Plotly shows as it is; of a long one the end, in which blocks differ."""
    line = " ".join(name.split())
    short = line if len(line) <= most else "…" + line[1 - most :]
    return html.escape(short, quote=False)
