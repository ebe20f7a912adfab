"""Text in places that read Markdown."""

import re


def plain(text: str) -> str:
    """Text that is shown as it is: no link, image, formula or icon."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
