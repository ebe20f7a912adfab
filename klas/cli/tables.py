"""What the command shows a person: anchors, choices, trainings, times, the cache, as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from klas.results.costs import above_anchors, costs_of
from klas.results.formatting import cost, percent, size
from klas.results.pair import (
    GIGA,
    Document,
    Pair,
    by_row,
    cost_unit,
    finetuned_accuracy,
    method_areas,
    pairs_of,
)
from klas.results.selections import choose
from klas.results.usage import Usage
from klas.storage.catalogue import Network
from klas.storage.store import Entry, Store
from klas.study import SelectionSpec, Study


def anchor_tables(document: Document) -> list[Any]:
    """The anchors, and the pairs by the divergence of their outputs (the paper's step 1)."""
    unit = cost_unit(document)
    anchors = Table(title="Anchors", title_justify="left")
    for column in ("name", "blocks", unit.name, "params", "top-1", "last probe"):
        anchors.add_column(column, justify="left" if column == "name" else "right")
    for a in document["anchors"]:
        probe = a["probe_accuracy"][-1] if a["probe_accuracy"] else None
        anchors.add_row(
            a["name"],
            str(a["blocks"]),
            cost(a["macs"], unit),
            f"{a['params']:,}",
            percent(a["accuracy"]),
            percent(probe),
        )
    ranking = Table(title="Pairs, most compatible first", title_justify="left")
    ranking.add_column("source → target")
    ranking.add_column("Θ of the outputs (nats)", justify="right")
    for p in sorted(
        document["pairs"], key=lambda p: (p["theta_output"] is None, p["theta_output"])
    ):
        theta = "–" if p["theta_output"] is None else f"{p['theta_output']:.4f}"
        ranking.add_row(f"{p['source']} → {p['target']}", theta)
    slow = [
        f"{a['name']}: {converged.count(False)} of {len(converged)} probes did not converge, so Γ "
        "of its stitches is approximate; raise [probes] l2 or [data] train_samples"
        for a in document["anchors"]
        if not all(converged := a["probe_converged"] or [])
    ]
    return [anchors, *slow, ranking]


def run_tables(document: Document, study: Study, store: Store) -> list[Any]:
    """The anchors, and for each pair what its selection holds."""
    tables = anchor_tables(document)
    for pair in pairs_of(document):
        if pair.is_scored(study.selection.metric):
            tables += [_pair_table(pair, study, store), *silent_buckets([pair], study.selection)]
    return tables


def silent_buckets(pairs: Sequence[Pair], spec: SelectionSpec) -> list[str]:
    """A line for each bucket that chooses nothing because all its scores are infinite."""
    return [
        f"{pair.name}: bucket {b} holds only infinite scores and chooses nothing"
        for pair in pairs
        for b in np.flatnonzero(np.isinf(choose(pair, spec).lowest))
    ]


def _pair_table(pair: Pair, study: Study, store: Store) -> Table:
    selection = choose(pair, study.selection)
    trained = finetuned_accuracy(store, pair, selection.chosen, study)
    table = Table(
        title=f"{pair.name}: {selection.chosen.sum()} of {pair.in_space.sum()} stitches chosen",
        title_justify="left",
    )
    for column in ("stitch", "bucket", pair.unit.name, "Γ", "zero_shot", "tuned", "finetuned"):
        table.add_column(column, justify="left" if column == "stitch" else "right")
    rows = np.flatnonzero(selection.chosen)
    for row in rows[np.lexsort((pair.macs[rows], selection.bucket[rows]))]:
        i, j = pair.stitches[row]
        table.add_row(
            f"{i} → {j}",
            str(selection.bucket[row]),
            cost(pair.macs[row], pair.unit),
            f"{pair.scores('kl')[row]:.3g}",
            percent(pair.accuracy("zero_shot")[row]),
            percent(pair.accuracy("tuned")[row]),
            percent(None if trained is None else trained[row]),
        )
    return table


def stitch_tables(stitches: Mapping[str, Any], out: Path | None) -> list[Any]:
    """A stitch list as a table, and where it was written."""
    unit = cost_unit(stitches)
    table = Table(
        title=f"{len(stitches['stitches'])} stitches by {stitches['selection']['metric']}",
        title_justify="left",
    )
    for column in (
        "source",
        "i",
        "target",
        "j",
        "bucket",
        unit.name,
        "score",
        "tuned",
        "finetuned",
    ):
        left = column in ("source", "target")
        table.add_column(column, justify="left" if left else "right")
    whole = next((s["full_val"] for s in stitches["stitches"] if s["full_val"]), None)
    if whole is not None:
        table.add_column(f"{whole['tier']}, all {whole['samples']:,}", justify="right")
    for s in stitches["stitches"]:
        extra = [] if whole is None else [percent(s["full_val"] and s["full_val"]["accuracy"])]
        table.add_row(
            s["source"],
            str(s["source_block"]),
            s["target"],
            str(s["target_block"]),
            "–" if s["bucket"] is None else str(s["bucket"]),
            cost(s["macs"], unit),
            "–" if s["score"] is None else f"{s['score']:.3g}",
            percent(s["accuracy"]["tuned"]),
            percent(s["accuracy"]["finetuned"]),
            *extra,
        )
    return [table] if out is None else [table, f"wrote {out}"]


def finetuned_tables(
    results: Sequence[tuple[Pair, NDArray[np.bool_], Mapping[str, Any]]],
) -> list[Any]:
    """Each pair's jointly trained stitches against its pretrained anchors."""
    parts: list[Any] = []
    for pair, chosen, result in results:
        accuracy = by_row(pair, chosen, result["accuracy"])
        above = above_anchors(costs_of(pair, "macs"), pair, chosen, accuracy)
        table = Table(
            title=f"{pair.name}: finetuned, {result['steps']:,} steps", title_justify="left"
        )
        for column in ("network", pair.unit.name, "top-1", "pretrained", "above both anchors"):
            table.add_column(column, justify="left" if column == "network" else "right")
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
        for macs, name, top1, before, verdict in sorted(rows, key=lambda r: r[0]):
            table.add_row(name, cost(macs, pair.unit), percent(top1), before, verdict)
        figures = method_areas(pair, chosen, accuracy)
        parts += [
            table,
            f"{above.sum()} of {chosen.sum()} stitches lie above the anchors' envelope",
        ]
        if figures.auc is not None:
            parts.append(f"auc {figures.auc:.3f}, mean top-1 {percent(figures.mean_top1)}")
    return parts


def latency_tables(results: Sequence[tuple[Pair, Mapping[str, Any]]]) -> list[Any]:
    """Each pair's networks by MACs, with the forward time that was measured."""
    parts: list[Any] = []
    for pair, found in results:
        where, batch = found["machine"], found["batch"]
        table = Table(title=f"{pair.name}: one forward pass, batch {batch}", title_justify="left")
        for column in ("network", pair.unit.name, "median (ms)", "quartiles (ms)", "passes"):
            table.add_column(column, justify="left" if column == "network" else "right")
        rows = [
            (a["macs"], a["name"], found["anchors"][a["name"]])
            for a in pair.cheap_and_costly
            if a["name"] in found["anchors"]
        ] + [
            (macs, f"{i} → {j}", found["stitches"][f"{i}-{j}"])
            for (i, j), macs in zip(pair.stitches, pair.macs)
        ]
        for macs, name, times in sorted(rows, key=lambda row: row[0]):
            quartiles = f"{times['low_ms']:.3g} – {times['high_ms']:.3g}"
            median, passes = f"{times['median_ms']:.3g}", str(times["passes"])
            table.add_row(name, cost(macs, pair.unit), median, quartiles, passes)
        threads = f"threads {where['threads']}, torch {where['torch']}"
        parts += [table, f"on {where['device']}, {threads}"]
    return parts


def check_lines(findings: Mapping[str, Any]) -> list[Any]:
    """One line a stitch."""
    lines = [
        f"ok  {s['source']}:{s['source_block']} → {s['target']}:{s['target_block']}  "
        f"{s['macs']:,} MACs, {s['params']:,} parameters"
        for s in findings["stitches"]
    ]
    return [*lines, f"{len(lines)} stitches rebuilt as stated"]


def catalogue_tables(networks: Sequence[Network], total: int) -> list[Any]:
    """Networks by cost; what could not be counted comes last."""
    table = Table(title=f"{len(networks):,} of {total:,} pretrained networks", title_justify="left")
    for column in ("network", "family", "GMACs", "parameters", "input", "classes"):
        table.add_column(
            column,
            justify="left" if column in ("network", "family") else "right",
            overflow="fold",
        )
    for n in sorted(networks, key=lambda n: (n.macs is None, n.macs, n.tag)):
        table.add_row(
            n.tag,
            n.family,
            "–" if n.macs is None else cost(n.macs, GIGA),
            "–" if n.params is None else f"{n.params:,}",
            "{1} × {2}".format(*n.input_size),
            str(n.classes),
        )
    return [table]


def cache_tables(store: Store, entries: Sequence[Entry], found: Usage) -> list[Any]:
    """What is stored, result by result and study by study."""
    table = Table(title=f"{store.root}: {size(found.bytes)}", title_justify="left")
    table.add_column("stage")
    table.add_column("result")
    table.add_column("size", justify="right")
    for entry in entries:
        table.add_row(entry.stage, Text(entry.label or entry.digest[:12]), size(entry.bytes))
    studies = Table(title="By study", title_justify="left")
    for column in ("study", "results", "size", "only its own", "largest stages"):
        left = column in ("study", "largest stages")
        studies.add_column(column, justify="left" if left else "right")
    for held in found.studies:
        largest = sorted(held.stages.items(), key=lambda item: -item[1])[:3]
        studies.add_row(
            Text(held.known.name),
            str(held.results),
            size(held.bytes),
            size(held.freeable),
            ", ".join(f"{stage} {size(count)}" for stage, count in largest),
        )
    parts: list[Any] = [table, studies]
    if found.unclaimed:
        parts.append(f"{size(found.unclaimed)} are of no known study")
    return parts
