"""Builds tables of texts with rich. This module formats them as plain lines; commands print them in colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flex_dspy.core.terminal import printable

_UNLIMITED = 1_000_000  # columns: wider than any table


def build_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> Table:
    """Build a table of texts. Control characters for terminals are made harmless.

    Args:
        head: The names of the columns.
        rows: The cells.
        left: Number of columns aligned to the left. The other columns are aligned to the right.
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
    """Table as plain lines of any width. No cell is cut or wrapped."""
    console = Console(width=measure(table).maximum, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def measure(table: Table) -> Measurement:
    """Smallest and largest width of the table, in terminal columns."""
    console = Console(width=_UNLIMITED)
    return Measurement.get(console, console.options, table)
