"""timm's pretrained networks, by cost."""

from collections.abc import Sequence

from rich.console import RenderableType

from klas.cli.tables.layout import new_table
from klas.results.formatting import cost
from klas.results.pair import GIGA
from klas.storage.catalogue import Network


def catalogue_tables(networks: Sequence[Network], total: int) -> list[RenderableType]:
    """Networks by cost; those whose cost could not be counted come last."""
    table = new_table(
        f"{len(networks):,} of {total:,} pretrained networks",
        ("network", "family", "GMACs", "parameters", "input", "classes"),
        text=("family",),
    )
    for column in table.columns:
        column.overflow = "fold"  # a tag is there to be copied
    for network in sorted(networks, key=lambda n: (n.macs is None, n.macs, n.tag)):
        table.add_row(
            network.tag,
            network.family,
            "–" if network.macs is None else cost(network.macs, GIGA),
            "–" if network.params is None else f"{network.params:,}",
            "{1} × {2}".format(*network.input_size),
            str(network.classes),
        )
    return [table]
