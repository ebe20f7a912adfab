"""What the command shows a person: tables, and a bar per stage with rate and time left."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from klas.catalogue import Network
from klas.costs import above_anchors, costs_of
from klas.results import (
    GIGA,
    CostUnit,
    Document,
    Pair,
    choose,
    cost_unit,
    finetuned_accuracy,
    method_areas,
    number,
    pairs_of,
)
from klas.store import Entry, Store
from klas.study import SelectionSpec, Study
from klas.usage import Usage


class _Rate(ProgressColumn):
    """Units per second over the last moments."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s", style="cyan")


class TerminalProgress:
    """A bar per stage on standard error; in a log file, a line per stage."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.fields[stage]:>10}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[label]}", style="dim", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def start(self, stage: str, unit: str, total: int) -> None:
        """Open a stage's bar; a cached stage gets a full one."""
        if self._bars.disable:
            print(f"{stage}: {f'{total:,} {unit}' if total else 'cached'}", file=sys.stderr)
        if self._task is not None:
            self._bars.update(self._task, label="")
        self._task = self._bars.add_task(
            "",
            stage=stage,
            unit=unit if total else "cached",
            label="",
            total=max(total, 1),
            completed=0 if total else 1,
        )

    def label(self, text: str) -> None:
        """Say beside the bar what is in hand."""
        if self._task is not None:
            self._bars.update(self._task, label=text)

    def advance(self, amount: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.advance(self._task, amount)


def duration(seconds: float) -> str:
    """42 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as 12 kB, 3.4 MB, 1.2 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def percent(value: float | None) -> str:
    """An accuracy as 87.3 %, or a dash where it was not measured."""
    return "–" if value is None or np.isnan(value) else f"{100 * value:.1f} %"


def cost(macs: float, unit: CostUnit) -> str:
    """A cost in a unit, three digits."""
    value = macs / unit.scale
    return f"{value:,.3g}" if value < 999.5 else f"{value:,.0f}"


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
        accuracy = np.full(len(chosen), np.nan)
        for row in np.flatnonzero(chosen):
            i, j = pair.stitches[row]
            accuracy[row] = result["accuracy"][f"{i}-{j}"]
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


METHODS = {
    "kl": "KLAS (Γ)",
    "theta": "Ω alone",
    "cka": "CKA",
    "mse": "MSE",
    "ce": "CE",
    "dm": "DM",
    "random": "random",
    "snnet": "SN-Net's set",
}
"""What people call the methods."""


def figure(found: Mapping[str, Any] | None, *, scale: float = 1.0, digits: int = 2) -> str:
    """A figure with its interval: 0.61 [0.42, 0.74]; a dash where there is none."""
    if found is None:
        return "–"
    value, low, high = (
        f"{scale * number(found[name]):z.{digits}f}" for name in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def tally(found: Mapping[str, Any] | None) -> str:
    """A count with its interval: 4 [3, 5.5]; a dash where there is none."""
    if found is None:
        return "–"
    value, low, high = (whole(number(found[name])) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def whole(count: float) -> str:
    """A count that ties or a mean may make fractional: 4, 3.5."""
    return f"{count:z.1f}".removesuffix(".0")


def below_cheap_anchor(
    comparison: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], tier: str
) -> str | None:
    """Why areas and gains are all alike at a tier, in a sentence; None where they are not.

    Args:
        pairs: those of the comparison that the figures are of.
    """
    flat = sum(_is_flat(comparison, pair, tier) for pair in pairs)
    if not flat:
        return None
    some = f"all {flat}" if flat == len(pairs) else f"{flat} of {len(pairs)}"
    where = "" if len(pairs) == 1 else f" in {some} pairs"
    return (
        f"At tier {tier} all chosen stitches{where} lie below the cheap anchor, so the envelope is "
        "the anchors' alone there: every auc and gain is 0, every saving 1."
    )


def _is_flat(comparison: Mapping[str, Any], pair: Mapping[str, Any], tier: str) -> bool:
    """Whether no method's stitches reach the cheap anchor, though the costly one is better."""
    split = comparison["finetuned_on"] if tier == "finetuned" else "val"
    ends = (pair["source"], pair["target"])
    anchors = [a for a in comparison["anchors"] if a["name"] in ends]
    if any(a[split] is None for a in anchors):
        return False
    cheap, costly = sorted(anchors, key=lambda a: a["macs"])
    floor = number(cheap[split]["value"])
    chosen = [s for stitches in pair["chosen"].values() for s in stitches]
    top1 = [number(s["accuracy"][tier]) for s in chosen if s["accuracy"][tier] is not None]
    # A stitch cheaper than both anchors has costs of its own, which a saving counts.
    inside = all(s["macs"] >= cheap["macs"] for s in chosen)
    rising = cheap["macs"] < costly["macs"] and floor < number(costly[split]["value"])
    return inside and rising and bool(top1) and max(top1) <= floor


def comparison_tables(comparison: Mapping[str, Any]) -> list[Any]:
    """Agreement with the oracle and the curves, pair by pair and over all pairs."""
    parts: list[Any] = []
    everything = {
        **comparison["all_pairs"],
        "buckets": sum(p["buckets"] for p in comparison["pairs"]),
    }
    for pair in comparison["pairs"]:
        sizes = {metric: len(chosen) for metric, chosen in pair["chosen"].items()}
        parts += _comparison_pair(f"{pair['source']} → {pair['target']}", pair, sizes)
    if len(comparison["pairs"]) > 1:
        parts += _comparison_pair("All pairs", everything, None)
    parts += [
        said
        for tier in ("tuned", "finetuned")
        if (said := below_cheap_anchor(comparison, comparison["pairs"], tier)) is not None
    ]
    if not any(m["finetuned"] for p in comparison["pairs"] for m in p["methods"].values()):
        parts.append("Nothing is trained jointly yet: `klas finetune --compare` does it.")
    parts.append(
        f"[95 % intervals] by {comparison['bootstrap']['replicates']:,} bootstrap replicates of "
        "the samples; oracle: tier tuned. ρ within buckets rests on so many candidates, those of "
        "buckets of three or more; over all pairs each pair weighs by them."
    )
    return parts


def _comparison_pair(
    title: str, found: Mapping[str, Any], sizes: Mapping[str, int] | None
) -> list[Any]:
    chance = whole(found["chance"]["value"])
    rows = [
        (
            METHODS[metric],
            "" if sizes is None else str(sizes[metric]),
            tally(method["overlap"]),
            tally(method["containment"]),
            figure(method["spearman"]),
            figure(method["spearman_within"]),
            str(ranked_candidates(method)),
        )
        for metric, method in found["methods"].items()
    ]
    head = ("chosen", "hits", "holds", "ρ", "ρ within buckets", "candidates")
    agreement = _method_table(
        f"{title}: best of {found['buckets']} buckets hit, or held by the set; chance {chance}",
        head,
        rows,
    )
    return [
        agreement,
        *_curve_tables(title, found, "tuned"),
        *_curve_tables(title, found, "finetuned"),
    ]


def _curve_tables(title: str, found: Mapping[str, Any], tier: str) -> list[Any]:
    """What the methods' stitches are worth at a tier, and what KLAS gains; nothing unmeasured."""
    curves = {m: curve for m, method in found["methods"].items() if (curve := method[tier])}
    if not any(curve["mean_top1"] for curve in curves.values()):
        return []
    pairs = max(curve.get("pairs", 0) for curve in curves.values())
    over = f", mean over {pairs} pair{'s' * (pairs > 1)}" if pairs else ""
    areas, gains = [], []
    for metric in found["methods"]:
        curve = curves.get(metric, {})
        areas.append(
            (
                METHODS[metric],
                figure(curve.get("mean_top1"), scale=100, digits=1),
                figure(curve.get("auc")),
                figure(curve.get("auc_stitches")),
                figure(curve.get("area_top1"), scale=100, digits=1),
            )
        )
        gains.append(
            (
                METHODS[metric],
                figure(curve.get("gain"), scale=100),
                figure(curve.get("greatest_gain"), scale=100),
                figure(curve.get("saving")),
                figure(curve.get("greatest_saving")),
            )
        )
    return [
        _method_table(
            f"{title}: tier {tier}{over}",
            ("mean top-1 (%)", "auc", "auc_stitches", "area_top1 (%)"),
            areas,
        ),
        _method_table(
            f"{title}: what KLAS gains (points) and saves (×), tier {tier}{over}",
            ("gain", "greatest gain", "saving", "greatest saving"),
            gains[1:],
        ),
    ]


def _method_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A row for each method."""
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for column in head:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def ranked_candidates(method: Mapping[str, Any]) -> int:
    """How many candidates a method's ρ within buckets rests on."""
    found = method["spearman_within"]
    return 0 if found is None else int(found["candidates"])


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
