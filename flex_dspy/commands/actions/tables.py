"""Prints tables: formatted in a terminal, and as plain aligned text in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import Any

from rich.console import Console
from rich.table import Table

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.core.tables import build_table, measure, table_text
from flex_dspy.core.terminal import print_styled
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.evaluation.settings import SOLVED

_COLUMNS = ("accuracy", "accuracy_low", "accuracy_high", "n", "samples", "errors")


def fits_terminal(table: Table) -> bool:
    """Whether the terminal is wide enough for the table without wrapping texts."""
    return measure(table).maximum <= Console(force_terminal=True).width


def print_table(table: Table) -> None:
    """Print a table. A terminal gets wrapped texts; a pipe or a terminal that is too narrow gets plain full lines."""
    console = Console(force_terminal=True)
    if not sys.stdout.isatty() or measure(table).minimum > console.width:
        print(table_text(table))
        return
    with console.capture() as capture:
        console.print(table)
    print_styled("\n".join(line.rstrip() for line in capture.get().splitlines()))


def stdout_for(as_json: bool) -> AbstractContextManager[object]:
    """Context manager that sends text for people to standard error if standard output is only for JSON."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def print_json(value: Any) -> None:
    """Print a value as JSON for a script."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def evaluation_table(results: Mapping[str, Evaluation], *, solved: float = SOLVED) -> Table:
    """Table with one row for each evaluation: its mean score with the interval, and all further measures.

    Args:
        results: Evaluations by name; at least one evaluation.
        solved: The score from which a sample counts as right for ``pass_at_k``.
    """
    names = [evaluation.score for evaluation in results.values()]
    score = next((name for name in names if name != ACCURACY), ACCURACY)  # older records lack the name
    numbers = {label: evaluation.metrics(solved=solved) for label, evaluation in results.items()}
    bounds = {f"{name}{end}" for row in numbers.values() for name in row for end in ("_low", "_high")}
    others = [name for row in numbers.values() for name in row if name not in bounds and name not in _COLUMNS]
    columns = list(dict.fromkeys(others))
    rows = [[label, *_cells(row, columns, score)] for label, row in numbers.items()]
    return build_table(["", "n", score, "95% interval", *columns, "errors"], rows)


def _cells(row: Mapping[str, float], columns: Sequence[str], name: str) -> list[str]:
    score = [row["accuracy"], row["accuracy_low"], row["accuracy_high"]]
    mean, low, high = (named_score_text(name, number, *score) for number in score)
    others = [named_score_text(name, row[each]) if each in row else "-" for each in columns]
    return [f"{row['n']:.0f}", mean, f"{low} to {high}", *others, f"{row['errors']:.0f}"]
