"""The members of an elastic network after a training, by cost."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from klas.cli.tables.layout import new_table
from klas.results.formatting import count, percent


def trained_tables(trained: Mapping[str, Any]) -> list[RenderableType]:
    """Each member's costs, and its accuracy before and after.

    Args:
        trained: ``{"folder", "tier", "members"}``, as ``klas train --json`` prints it.
    """
    tier = trained["tier"]
    table = new_table(
        f"trained jointly: {len(trained['members'])} members",
        ("member", "MACs", "parameters", "before", "trained"),
    )
    for member in trained["members"]:
        accuracy = member["accuracy"]
        earlier = [accuracy[one] for one in ("finetuned", "tuned", "zero_shot") if one in accuracy]
        table.add_row(
            member["name"],
            count(member["macs"]),
            count(member["params"]),
            percent(earlier[0] if earlier else None),
            percent(accuracy.get(tier)),
        )
    lines = [
        f"wrote {trained['folder']}: klas.load({trained['folder']!r}).use(macs=…) runs a member"
    ]
    return [table, *lines]
