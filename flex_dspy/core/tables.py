"""Tables of texts, built with rich: as plain lines here, in colour where a command prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flex_dspy.core.terminal import printable

_UNLIMITED = 1_000_000  # columns: wider than any table


def build_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> Table:
    """Build a table of texts, without anything that could steer a terminal.

    Args:
        head: The names of the columns.
        rows: The cells.
        left: How many columns are aligned to the left; the others are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, name in enumerate(head):
        is_text = place < left
        table.add_column(
            Text(printable(name)), justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text
        )
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    return table


def table_text(table: Table) -> str:
    """The table as plain lines, as wide as it takes: nothing is cut off or wrapped."""
    console = Console(width=measure(table).maximum, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def measure(table: Table) -> Measurement:
    """The least and the most columns that the table takes."""
    console = Console(width=_UNLIMITED)
    return Measurement.get(console, console.options, table)
