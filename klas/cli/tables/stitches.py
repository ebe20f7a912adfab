"""A stitch list as a table, and the lines of ``klas check``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from klas.cli.tables.layout import new_table
from klas.results.anchor_notes import anchor_notes
from klas.results.documents.stitches import StitchList
from klas.results.formatting import deployed, macs, percent
from klas.results.pair import cost_unit, number


def stitch_tables(stitches: StitchList, out: Path | None) -> list[RenderableType]:
    """A stitch list as a table, and where it was written."""
    unit = cost_unit(stitches)
    fused = any("deployed" in stitch for stitch in stitches["stitches"])
    more = [f"deployed {unit.name}"] if fused else []
    columns = ["source", "i", "target", "j", "bucket", unit.name, *more]
    columns += ["score", "tuned", "finetuned"]
    measured = next((s["full_val"] for s in stitches["stitches"] if s["full_val"]), None)
    if measured is not None:
        columns.append(f"{measured['tier']}, all {measured['samples']:,}")
    table = new_table(
        f"{len(stitches['stitches'])} stitches by {stitches['selection']['metric']}",
        columns,
        text=("target",),
    )
    for stitch in stitches["stitches"]:
        row = [
            stitch["source"],
            str(stitch["source_block"]),
            stitch["target"],
            str(stitch["target_block"]),
            "–" if stitch["bucket"] is None else str(stitch["bucket"]),
            macs(stitch, unit),
            *(deployed(stitch, unit)[:1] if fused else ()),
            "–" if stitch["score"] is None else f"{number(stitch['score']):.3g}",
            percent(stitch["accuracy"]["tuned"]),
            percent(stitch["accuracy"]["finetuned"]),
        ]
        if measured is not None:
            row.append(percent(stitch["full_val"]["accuracy"] if stitch["full_val"] else None))
        table.add_row(*row)
    notes = anchor_notes(stitches["anchors"])
    return [table, *notes] if out is None else [table, *notes, f"wrote {out}"]


def check_lines(rebuilt: Mapping[str, Any]) -> list[RenderableType]:
    """A line for each stitch that was rebuilt, and their number."""
    lines: list[RenderableType] = [
        f"ok  {stitch['source']}:{stitch['source_block']} → "
        f"{stitch['target']}:{stitch['target_block']}  "
        f"{stitch['macs']:,} MACs, {stitch['params']:,} parameters"
        for stitch in rebuilt["stitches"]
    ]
    return [*lines, f"{len(lines)} stitch{'es' * (len(lines) != 1)} rebuilt as stated"]
