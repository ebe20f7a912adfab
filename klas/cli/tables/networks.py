"""A pair's networks by cost, with what was measured of them: joint trainings and latency."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType

from klas.cli.tables.layout import new_table
from klas.results.accuracies import by_row
from klas.results.costs import above_anchors, costs_of
from klas.results.formatting import cost, percent
from klas.results.pair import Pair, method_areas
from klas.selection.space import name_of


def finetuned_tables(
    results: Sequence[tuple[Pair, NDArray[np.bool_], Mapping[str, Any]]],
) -> list[RenderableType]:
    """Each pair's jointly trained stitches against its pretrained anchors.

    Args:
        results: for every pair what was chosen, (N,), and what its training gave.
    """
    parts: list[RenderableType] = []
    for pair, chosen, result in results:
        metric = pair.task.metric
        accuracy = by_row(pair, chosen, result["accuracy"])
        above = above_anchors(costs_of(pair, "macs"), pair, chosen, accuracy)
        table = new_table(
            f"{pair.name}: finetuned, {result['steps']:,} steps",
            ("network", pair.unit.name, metric.label, "pretrained", "above both anchors"),
        )
        rows = [
            (a["macs"], a["name"], result["anchors"].get(a["name"]), percent(a["accuracy"]), "")
            for a in pair.cheap_and_costly
        ] + [
            (
                pair.macs[row],
                "{} → {}".format(*pair.stitches[row]),
                accuracy[row],
                "",
                "yes" if above[row] else "no",
            )
            for row in np.flatnonzero(chosen)
        ]
        for macs, name, trained, pretrained, verdict in sorted(rows, key=lambda row: row[0]):
            table.add_row(name, cost(macs, pair.unit), percent(trained), pretrained, verdict)
        parts += [
            table,
            f"{above.sum()} of {chosen.sum()} stitches lie above the anchors' envelope",
        ]
        figures = method_areas(pair, chosen, accuracy)
        if figures.auc is not None:
            mean = percent(figures.mean_top1)
            parts.append(f"auc {figures.auc:.3f}, mean {metric.label} {mean}")
    return parts


def latency_tables(results: Sequence[tuple[Pair, Mapping[str, Any]]]) -> list[RenderableType]:
    """Each pair's networks with the time of a forward pass, and where it was measured."""
    parts: list[RenderableType] = []
    for pair, latency in results:
        table = new_table(
            f"{pair.name}: one forward pass, batch {latency['batch']}",
            ("network", pair.unit.name, "median (ms)", "quartiles (ms)", "passes"),
        )
        rows = [
            (a["macs"], a["name"], latency["anchors"][a["name"]])
            for a in pair.cheap_and_costly
            if a["name"] in latency["anchors"]
        ] + [
            (macs, f"{i} → {j}", latency["stitches"][name_of((i, j))])
            for (i, j), macs in zip(pair.stitches, pair.macs)
        ]
        for macs, name, times in sorted(rows, key=lambda row: row[0]):
            quartiles = f"{times['low_ms']:.3g} – {times['high_ms']:.3g}"
            median, passes = f"{times['median_ms']:.3g}", str(times["passes"])
            table.add_row(name, cost(macs, pair.unit), median, quartiles, passes)
        machine = latency["machine"]
        threads = f"threads {machine['threads']}, torch {machine['torch']}"
        parts += [table, f"on {machine['device']}, {threads}"]
    return parts
