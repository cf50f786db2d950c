"""The arguments of ``flex-dspy compare``; nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

Common = Callable[[argparse.ArgumentParser], None]


def add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: Common) -> None:
    """Add the command ``compare``.

    Args:
        commands: Where the top command keeps its commands.
        common: Adds the options of models, actor, money, retrieval and tracking.
    """
    parser = commands.add_parser(
        "compare",
        help="say which of several libraries is better, by how much, how surely, and on what",
        description="Measure libraries on the same examples and compare each with the first: accuracies with "
        "intervals, a paired test, what was won and lost, and what it cost. Saved evaluations are compared as they "
        "are: for those no model is asked.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="two or more: a library (a file, a folder, NAME@alias or NAME/version in MLflow), 'none' for no library, "
        "or a saved evaluation (a folder that flex-dspy eval wrote, or its records.jsonl)",
    )
    parser.add_argument(
        "--name", action="append", dest="names", metavar="NAME", help="what to call the first, the second, and so on"
    )
    data = parser.add_argument_group("data")
    data.add_argument("--task", metavar="TASK", help="the task (default: that of the first library)")
    data.add_argument(
        "--data",
        "--val",
        metavar="SOURCE",
        help="examples: a split, a file or a hub id (default: those of the first saved evaluation, else val)",
    )
    data.add_argument("--samples", type=_positive, metavar="N", help="a random N of them")
    data.add_argument("--train", metavar="SOURCE", help="where the examples of --actor icl come from")
    data.add_argument(
        "--pass-at", type=_positive, default=1, metavar="N", help="independent samples an example (default 1)"
    )
    shown = parser.add_argument_group("output")
    shown.add_argument(
        "--examples",
        type=_not_negative,
        default=10,
        metavar="N",
        help="most wins, and most losses, that the page shows of each (default 10)",
    )
    shown.add_argument("--json", action="store_true", help="print the numbers as JSON instead of a table")
    shown.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the page, the figure, JSON and records (default exps/...)"
    )
    common(parser)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {value}")
    return value
