"""The arguments of ``flex-dspy library value`` and ``library prune``; nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

RULES = ("value", "stale", "redundant")
_Actions = argparse._SubParsersAction
Common = Callable[[argparse.ArgumentParser], None]


def add_value(actions: _Actions[argparse.ArgumentParser], common: Common) -> None:
    """Add the command ``library value``.

    Args:
        actions: Where ``library`` keeps its commands.
        common: Adds the options of models, actor, money, retrieval and tracking.
    """
    parser = actions.add_parser(
        "value",
        help="measure what each entry adds to the score",
        description="Measure what each entry adds to the score of the examples that it is shown on, by trials with it "
        "and without it. No model is asked for an opinion. The estimates are written beside the library.",
    )
    parser.add_argument("library", metavar="LIBRARY", help="a library file, or NAME@alias or NAME/version in MLflow")
    _add_data(parser, needed=True)
    parser.add_argument(
        "--calls", type=_at_least_4, required=True, metavar="N", help="most calls of the program; at least 4"
    )
    _add_confidence(parser, "that of the intervals (default 0.95)")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="entries to print at each end (default 20)")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="the file to write (default LIBRARY.value.json)")
    common(parser)


def add_prune(actions: _Actions[argparse.ArgumentParser], common: Common) -> None:
    """Add the command ``library prune``.

    Args:
        actions: Where ``library`` keeps its commands.
        common: Adds the options of models, actor, money, retrieval and tracking.
    """
    parser = actions.add_parser(
        "prune",
        help="take out entries that do harm, are out of use, or are said twice",
        description="Take out entries that were measured to do harm (see library value), that are out of use, or that "
        "another one says too. What is to be removed is printed first. With --task and --data, accuracy is measured "
        "before and after, and nothing is removed where it would surely fall. Pinned entries stay.",
    )
    parser.add_argument("library", type=Path, metavar="FILE", help="a library file of this project")
    parser.add_argument(
        "--by", type=_rules, default=("value",), metavar="RULES", help=f"some of {','.join(RULES)} (default value)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--estimates", type=Path, metavar="FILE", help="by value: the estimates (default beside it)")
    parser.add_argument(
        "--min-value", type=float, default=0.0, metavar="X", help="by value: entries that add less go (default 0)"
    )
    _add_confidence(parser, "by value: how sure, over all that is removed (default 0.95)")
    parser.add_argument(
        "--stale-after", type=_positive, default=1_000, metavar="N", help="stale: after so many examples (default 1000)"
    )
    parser.add_argument(
        "--redundancy",
        type=_share,
        default=0.8,
        metavar="X",
        help="redundant: the share of words in common from which two texts say the same (default 0.8)",
    )
    _add_data(parser, needed=False)
    common(parser)


def _add_data(parser: argparse.ArgumentParser, *, needed: bool) -> None:
    parser.add_argument("--task", required=needed, metavar="TASK", help="the task that the library is for")
    default = "val" if needed else "test"
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help=f"examples: a split, a file or a hub id (default {default}, where there is one)",
    )
    parser.add_argument("--samples", type=_positive, metavar="N", help="a random N of them")


def _add_confidence(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--confidence", type=_share, default=0.95, metavar="X", help=text)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _at_least_4(text: str) -> int:
    value = int(text)
    if value < 4:
        raise argparse.ArgumentTypeError(f"must be at least 4, got {value}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return value


def _rules(text: str) -> tuple[str, ...]:
    rules = tuple(dict.fromkeys(text.split(",")))
    if unknown := set(rules) - set(RULES):
        raise argparse.ArgumentTypeError(f"there is no rule {', '.join(sorted(unknown))}: some of {','.join(RULES)}")
    return rules
