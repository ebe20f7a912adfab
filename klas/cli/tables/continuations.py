"""The table of ``klas rouge``."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from klas.cli.tables.layout import new_table
from klas.results.formatting import percent
from klas.results.pair import Pair
from klas.selection.space import name_of
from klas.study import Tier

HEADINGS = ("ROUGE-1 (%)", "ROUGE-2 (%)", "ROUGE-L (%)")


def rouge_tables(
    results: Sequence[tuple[Pair, Mapping[str, Sequence[float]]]], tier: Tier
) -> list[Table]:
    """A table for each pair: its anchors and chosen stitches by cost.

    Args:
        results: each pair, and the means of ROUGE-1, 2 and L by ``"i-j"`` or the anchor's name.
    """
    return [_table(pair, made, tier) for pair, made in results]


def _table(pair: Pair, made: Mapping[str, Sequence[float]], tier: Tier) -> Table:
    unit = pair.unit
    table = new_table(
        f"{pair.name}: greedy continuations, {tier}",
        ("network", f"{unit.name} per token", "parameters", *HEADINGS),
    )
    costs = {a["name"]: (a["macs"], a["params"]) for a in (pair.source, pair.target)}
    for candidate in pair.raw["candidates"]:
        place = candidate["source_block"], candidate["target_block"]
        costs[name_of(place)] = candidate["macs"], candidate["params"]
    for name in sorted(made, key=lambda name: costs[name]):
        macs, params = costs[name]
        figures = [percent(value) for value in made[name]]
        table.add_row(name, f"{macs / unit.scale:.3g}", f"{params:,}", *figures)
    return table
