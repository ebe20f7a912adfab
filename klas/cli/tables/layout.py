"""How every table of the command looks."""

from collections.abc import Collection, Sequence

from rich.table import Table


def new_table(title: str, columns: Sequence[str], *, text: Collection[str] = ()) -> Table:
    """A table without rows; numbers stand on the right of their columns.

    Args:
        text: the columns, beside the first, that hold text and not numbers.
    """
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        is_text = place == 0 or column in text
        table.add_column(column, justify="left" if is_text else "right")
    return table
