"""What the pages of results share: their tables, and figures as text."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from klas.results.comparison_view import entry_of
from klas.results.documents.comparison import ComparedPair, Comparison
from klas.results.formatting import METHODS
from klas.results.pair import Document, Pair, pairs_of
from klas.selection.agreement import weighted_mean
from klas.study import METRICS

Cells = Sequence[object]

CURVE_CAPTION = (
    "*auc* is the area under the envelope of stitches and pretrained anchors, 0 being the cheap "
    "anchor throughout and 1 the costly one; *auc_stitches* that of the stitches alone; "
    "*area_top1* that of auc's envelope unscaled. *Gain*: how far KLAS's envelope lies above "
    "this method's at equal cost; *saving*: how many times cheaper KLAS's reaches the same "
    "accuracy; both on average, and where they are greatest."
)


def curve_pairs(methods: Mapping[str, Any], tier: str) -> int:
    """Over how many pairs the curves over all pairs are."""
    return max((method[tier] or {}).get("pairs", 0) for method in methods.values())


def curve_table(
    by_seed: Sequence[Mapping[str, Any]],
    tier: str,
    sizes: Mapping[str, int] | None = None,
    poster: Mapping[str, float] | None = None,
) -> str:
    """Every method's curve at a tier, of the first seed with intervals, beside the other seeds.

    Args:
        by_seed: the methods of a pair, or of all pairs, for each seed.
        sizes: how many stitches each method chose.
        poster: the poster's AUC.
    """
    rows = []
    for metric in METRICS:
        first, *rest = [methods[metric][tier] or {} for methods in by_seed]
        cells: list[object] = [METHODS[metric]]
        if sizes is not None:
            cells.append(sizes[metric])
        for name, scale, digits in (("mean_top1", 100, 1), ("auc_stitches", 1, 2), ("auc", 1, 3)):
            cells.append(with_interval(first.get(name), scale, digits))
            if rest:
                cells.append(others([curve.get(name) for curve in rest], scale, digits))
        cells.append(with_interval(first.get("area_top1"), 100, 1))
        cells += [with_interval(first.get(name), 100, 2) for name in ("gain", "greatest_gain")]
        cells += [with_interval(first.get(name), 1, 2) for name in ("saving", "greatest_saving")]
        if poster is not None:
            cells.append(f"{poster[metric]:.4f}" if metric in poster else "")
        rows.append(cells)
    more = [*map(str, range(1, len(by_seed)))]
    seeds = [f"{'seed' if len(more) == 1 else 'seeds'} {', '.join(more)}"] * bool(more)
    head = (
        "method",
        *([] if sizes is None else ["stitches"]),
        *(cell for name in ("mean top-1 (%)", "auc_stitches", "auc") for cell in (name, *seeds)),
        "area_top1 (%)",
        "KLAS's gain (points)",
        "greatest",
        "KLAS's saving (×)",
        "greatest",
        *([] if poster is None else ["poster: AUC, ImageNet"]),
    )
    return table(head, rows)


def pair_curves(
    comparisons: Sequence[Comparison], names: tuple[str, str]
) -> tuple[list[ComparedPair], list[str]]:
    """A pair of several seeds' comparisons, and its title and table after joint training."""
    each = [entry for c in comparisons if (entry := entry_of(c, names)) is not None]
    sizes = {metric: len(chosen) for metric, chosen in each[0]["chosen"].items()}
    curves = curve_table([e["methods"] for e in each], "finetuned", sizes)
    return each, [f"**{names[0]} → {names[1]}**", curves]


def budget_table(
    methods: Mapping[str, Any], budgets: Sequence[int], figure: str, scale: float, digits: int
) -> str:
    """A figure of every method's curve after so many steps of joint training."""
    rows = [
        (
            METHODS[metric],
            *(
                plain((methods[metric]["budgets"][str(b)] or {}).get(figure), scale, digits)
                for b in budgets
            ),
        )
        for metric in METRICS
    ]
    return table(("method", *(f"{b:,} steps" for b in budgets)), rows)


def machine() -> str:
    """The processor, for the records."""
    import torch

    from klas.pipeline.recipes.latency import device_name

    return f"{os.cpu_count()} cores of {device_name(torch.device('cpu'))}"


def pair_named(document: Document, names: tuple[str, str]) -> Pair:
    """One pair of a document."""
    return next(p for p in pairs_of(document) if p.names == names)


def within_pairs(ranked: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
    """ρ within the buckets of several pairs, and on how many candidates it rests."""
    rho, candidates = (np.array(part) for part in zip(*ranked))
    return f"{float(weighted_mean(rho, candidates)):.2f} ({candidates.sum()})"


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Of two sets, given as bits."""
    return float((first & second).sum() / max((first | second).sum(), 1))


def section(title: str, text: str, *parts: str) -> str:
    """A section of the page."""
    return "\n\n".join(p for p in (f"## {title}", text, *parts) if p)


def table(head: Cells, rows: Iterable[Cells]) -> str:
    """A Markdown table; the first column is text."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def percent(figure: Mapping[str, Any] | None) -> str:
    """An accuracy in percent."""
    return plain(figure, 100, 2)


def plain(figure: Mapping[str, Any] | None, scale: float, digits: int) -> str:
    """A figure without its interval."""
    return "" if figure is None else f"{scale * figure['value']:z.{digits}f}"


def with_interval(figure: Mapping[str, Any] | None, scale: float, digits: int) -> str:
    """A figure with its interval."""
    if figure is None:
        return ""
    value, low, high = (
        f"{scale * float(figure[name]):z.{digits}f}" for name in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def others(figures: Sequence[Mapping[str, Any] | None], scale: float, digits: int) -> str:
    """The same figure of other seeds."""
    return ", ".join(plain(f, scale, digits) for f in figures if f is not None)
