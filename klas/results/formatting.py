"""How figures and methods are written, in the command's tables and on the pages alike."""

import numpy as np

from klas.results.documents.comparison import Figure
from klas.results.documents.scores import Candidate
from klas.results.documents.sources import AnchorEntry
from klas.results.documents.stitches import StitchEntry
from klas.results.pair import CostUnit, number
from klas.study import Metric

METHODS = {
    "kl": "KLAS (Γ)",
    "theta": "Ω alone",
    "theta_ce": "√(Ω·CE)",
    "cka": "CKA",
    "mse": "MSE",
    "ce": "CE",
    "dm": "DM",
    "random": "random",
    "snnet": "SN-Net's set",
    "race": "race",
}
"""The methods' names for people."""


def in_prose(metric: Metric) -> str:
    """A method's name within a sentence.

    Examples:
        >>> in_prose("race"), in_prose("cka")
        ('the race', 'CKA')
    """
    return "the race" if metric == "race" else METHODS[metric]


# Times and sizes are written here and not by humanize, whose texts are longer or say less: its
# naturaldelta calls 1.5 hours and 2.5 hours both "2 hours", its precisedelta writes "1 hour, 29
# minutes and 59 seconds", and its naturalsize "999 Bytes" and "12.0 kB".
def duration(seconds: float) -> str:
    """A time as 42 s, 3 min, 2.5 h, or a dash for NaN."""
    if np.isnan(seconds):
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def size(count: float) -> str:
    """Bytes as 12 kB, 3.4 MB, 1.2 GB, 5.6 TB, or a dash for NaN."""
    if np.isnan(count):
        return "–"
    for unit, digits in (("B", 0), ("kB", 0), ("MB", 1), ("GB", 1)):
        if round(count, digits) < 1000:  # as it is printed: 999,999 bytes are 1.0 MB
            return f"{count:.{digits}f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def percent(value: float | None) -> str:
    """An accuracy as 87.3 %, or a dash where it was not measured."""
    return "–" if value is None or np.isnan(value) else f"{100 * value:.1f} %"


def cost(macs: float, unit: CostUnit) -> str:
    """A cost in a unit, three digits."""
    value = macs / unit.scale
    return f"{value:,.3g}" if value < 999.5 else f"{value:,.0f}"


Costed = AnchorEntry | Candidate | StitchEntry
"""What has costs in a document."""


def macs(entry: Costed, unit: CostUnit) -> str:
    """MACs in a unit, marked where operators without a formula come on top."""
    return ("≥ " if "uncounted" in entry else "") + cost(entry["macs"], unit)


def deployed(entry: Costed, unit: CostUnit) -> tuple[str, str]:
    """MACs and parameters of the fused form, or dashes where nothing is fused."""
    if "deployed" not in entry:
        return "–", "–"
    return cost(entry["deployed"]["macs"], unit), f"{entry['deployed']['params']:,}"


def with_interval(estimate: Figure | None, *, scale: float = 1.0, digits: int = 2) -> str:
    """A figure with its interval: 0.61 [0.42, 0.74]; a dash for what is undefined."""
    if estimate is None:
        return "–"
    value, low, high = (
        "–" if np.isnan(end) else f"{scale * end:z.{digits}f}" for end in _ends(estimate)
    )
    return f"{value} [{low}, {high}]"


def tally(estimate: Figure | None) -> str:
    """A count with its interval: 4 [3, 5.5]; a dash for what is undefined."""
    if estimate is None:
        return "–"
    value, low, high = (whole(end) for end in _ends(estimate))
    return f"{value} [{low}, {high}]"


def _ends(figure: Figure) -> tuple[float, float, float]:
    """A figure, and where its interval begins and ends."""
    return number(figure["value"]), number(figure["low"]), number(figure["high"])


def whole(count: float) -> str:
    """A count that ties or a mean may make fractional: 4, 3.5; a dash for NaN."""
    return "–" if np.isnan(count) else f"{count:z.1f}".removesuffix(".0")
