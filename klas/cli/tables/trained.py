"""The members of an elastic network after a training, by cost."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from klas.cli.tables.layout import new_table
from klas.results.formatting import cost, percent
from klas.results.pair import unit_for


def trained_tables(trained: Mapping[str, Any]) -> list[RenderableType]:
    """Each member's costs, and its accuracy before and after.

    Args:
        trained: ``{"folder", "tier", "members"}``, as ``klas train --json`` prints it.
    """
    tier, members = trained["tier"], trained["members"]
    unit = unit_for(member["macs"] for member in members)
    table = new_table(
        f"trained jointly: {len(members)} members",
        ("member", unit.name, "parameters", "before", "trained"),
    )
    for member in members:
        accuracy = member["accuracy"]
        earlier = [accuracy[one] for one in ("finetuned", "tuned", "zero_shot") if one in accuracy]
        table.add_row(
            member["name"],
            cost(member["macs"], unit),
            f"{member['params']:,}",
            percent(earlier[0] if earlier else None),
            percent(accuracy.get(tier)),
        )
    folder = trained["folder"]
    return [table, f"wrote {folder}: klas.load({folder!r}).use(macs=…) runs a member"]
