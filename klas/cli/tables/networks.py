"""A pair's networks by cost, with what was measured of them: joint trainings and latency."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import RenderableType

from klas.cli.tables.layout import new_table
from klas.results.accuracies import by_row
from klas.results.costs import above_anchors, costs_of
from klas.results.formatting import cost, percent
from klas.results.pair import Pair, method_areas
from klas.selection.space import name_of


def finetuned_tables(
    results: Sequence[tuple[Pair, Mapping[str, Any]]],
) -> list[RenderableType]:
    """Each pair's jointly trained stitches against its pretrained anchors.

    Args:
        results: for every pair what its training gave.
    """
    parts: list[RenderableType] = []
    for pair, result in results:
        metric = pair.task.metric
        accuracy = by_row(pair, result["accuracy"])
        chosen = np.isfinite(accuracy)
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
        parts += _falls(pair, result)
        figures = method_areas(pair, chosen, accuracy)
        if figures.auc is not None:
            mean = percent(figures.mean_top1)
            parts.append(f"auc {figures.auc:.3f}, mean {metric.label} {mean}")
    return parts


def _falls(pair: Pair, result: Mapping[str, Any]) -> list[RenderableType]:
    """Of a race, what its rungs measured, and who dropped out there."""
    if "rungs" not in result:
        return []
    rungs, label = result["rungs"], pair.task.metric.label
    columns = (pair.unit.name, *(f"{label} at step {rung['step']:,}" for rung in rungs))
    table = new_table(f"{pair.name}: the race", ("stitch", *columns, "kept"))
    started = rungs[0]["accuracy"]
    for place, macs in sorted(zip(pair.everywhere, pair.macs), key=lambda entry: entry[1]):
        if (name := name_of(place)) in started:
            measured = [percent(rung["accuracy"].get(name)) for rung in rungs]
            kept = "yes" if name in result["accuracy"] else ""
            table.add_row("{} → {}".format(*place), cost(macs, pair.unit), *measured, kept)
    if len(started) > len(result["accuracy"]):
        return [table]
    return [table, f"{pair.name}: no bucket had two stitches to race, so all were kept"]


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
