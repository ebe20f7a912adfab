"""What the store holds, result by result and study by study."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from klas.cli.tables.layout import new_table
from klas.results.formatting import size
from klas.results.usage import Usage
from klas.storage.index import Entry


def cache_tables(root: Path, entries: Sequence[Entry], usage: Usage) -> list[RenderableType]:
    """Every result, every study, and how much belongs to no study.

    Args:
        root: the store's folder.
    """
    columns = ("stage", "result", "size")
    results = new_table(f"{root}: {size(usage.bytes)}", columns, text=("result",))
    for entry in entries:
        results.add_row(entry.stage, Text(entry.label or entry.digest[:12]), size(entry.bytes))
    studies = new_table(
        "By study",
        ("study", "results", "size", "only its own", "largest stages"),
        text=("largest stages",),
    )
    for study_usage in usage.studies:
        largest = sorted(study_usage.stages.items(), key=lambda stage: -stage[1])[:3]
        studies.add_row(
            Text(study_usage.known.name),
            str(study_usage.results),
            size(study_usage.bytes),
            size(study_usage.freeable),
            ", ".join(f"{stage} {size(count)}" for stage, count in largest),
        )
    parts: list[RenderableType] = [results, studies]
    parts += [Text(h.known.problem) for h in usage.studies if h.known.problem]
    if usage.unclaimed:
        parts.append(f"{size(usage.unclaimed)} belong to no known study")
    for what, (count, taken) in {"exported": usage.exports, "trained": usage.trained}.items():
        if count:
            parts.append(f"{size(taken)} are {count} {what} networks")
    return parts
