"""The arguments of ``flex-dspy library ...``. Nothing heavy is imported, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
from pathlib import Path

ZONES = ("golden", "warning", "mixed")
_LIBRARY = "a library file, a folder of them, or NAME@alias or NAME/version in MLflow"


def add_library(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """Add the command ``library`` with its own commands.

    Args:
        commands: Where the top command keeps its commands.

    Returns:
        Where ``library`` keeps its own.
    """
    library = commands.add_parser(
        "library",
        help="look at libraries, compare, merge, convert and edit them",
        description="Look at experience libraries, compare, merge, convert and edit them. A LIBRARY is " + _LIBRARY,
    )
    actions = library.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_show(actions)
    _add_stats(actions)
    _add_versions(actions)
    _add_diff(actions)
    _add_merge(actions)
    _add_import(actions)
    _add_export(actions)
    _add_search(actions)
    _add_edit(actions)
    _add_log(actions)
    return actions


_Actions = argparse._SubParsersAction


def _action(actions: _Actions[argparse.ArgumentParser], name: str, text: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow store (default: MLflow's own)")
    return parser


def _add_show(actions: _Actions[argparse.ArgumentParser]) -> None:
    show = _action(actions, "show", "print the entries of a library")
    show.add_argument("library", metavar="LIBRARY", help=_LIBRARY)
    show.add_argument("--id", metavar="ID", help="only the entry with this id, or those whose ids begin so")
    show.add_argument("--zone", choices=ZONES, help="only entries of this zone")
    show.add_argument("--category", metavar="TEXT", help="only entries in whose category this occurs")
    show.add_argument("--limit", type=_positive, default=20, metavar="N", help="most entries to print (default 20)")
    show.add_argument("--skip", type=int, default=0, metavar="N", help="entries to pass over first (default 0)")
    _add_json(show)


def _add_stats(actions: _Actions[argparse.ArgumentParser]) -> None:
    stats = _action(actions, "stats", "sizes, categories, tokens, the most helpful and the most misleading entries")
    stats.add_argument("library", metavar="LIBRARY", help=_LIBRARY)
    stats.add_argument("--top", type=_positive, default=5, metavar="N", help="how many to name in a list (default 5)")
    _add_json(stats)


def _add_versions(actions: _Actions[argparse.ArgumentParser]) -> None:
    versions = _action(actions, "versions", "the versions published of a library")
    versions.add_argument("library", metavar="LIBRARY", help="a library file or its folder, or a NAME in MLflow")
    _add_json(versions)


def _add_diff(actions: _Actions[argparse.ArgumentParser]) -> None:
    diff = _action(actions, "diff", "what changed from one library to another, by entry")
    diff.add_argument("older", metavar="A", help=_LIBRARY)
    diff.add_argument("newer", metavar="B", help=_LIBRARY)
    diff.add_argument("--limit", type=_positive, metavar="N", help="most entries of each kind (default: all)")
    _add_json(diff)


def _add_merge(actions: _Actions[argparse.ArgumentParser]) -> None:
    merge = _action(actions, "merge", "make one library of several")
    merge.add_argument("libraries", nargs="+", metavar="LIBRARY", help=_LIBRARY)
    merge.add_argument("--any-task", action="store_true", help="merge libraries of different tasks")
    _add_output(merge)
    _add_json(merge)


def _add_import(actions: _Actions[argparse.ArgumentParser]) -> None:
    importing = _action(actions, "import", "make a library file of the FLEX release's, of a folder, or of a version")
    importing.add_argument("source", metavar="SOURCE", help=_LIBRARY)
    importing.add_argument("--task", default="", metavar="TASK", help="the task it is for, where the file names none")
    _add_output(importing)


def _add_export(actions: _Actions[argparse.ArgumentParser]) -> None:
    export = _action(actions, "export", "write a library for other programs")
    export.add_argument("library", metavar="LIBRARY", help=_LIBRARY)
    export.add_argument(
        "--format",
        choices=("release", "json"),
        default="release",
        help="the FLEX release's format 2.0, or this project's (default release)",
    )
    _add_output(export)


def _add_search(actions: _Actions[argparse.ArgumentParser]) -> None:
    search = _action(actions, "search", "what a library has to say on a problem, and why that")
    search.add_argument("query", metavar="QUERY", help="a problem: any text, or a SMILES")
    search.add_argument("library", metavar="LIBRARY", help=_LIBRARY)
    search.add_argument("--k", type=_positive, default=5, metavar="N", help="most entries (default 5)")
    _add_json(search)


def _add_edit(actions: _Actions[argparse.ArgumentParser]) -> None:
    edit = _action(actions, "edit", "change, remove or pin an entry; without an option, in $EDITOR")
    edit.add_argument("library", metavar="FILE", help="a library file of this project")
    edit.add_argument("id", metavar="ID", help="the entry's id, or its beginning")
    how = edit.add_mutually_exclusive_group()
    how.add_argument("--set", action="append", metavar="FIELD=VALUE", help="a field's new value; rules are a JSON list")
    how.add_argument("--remove", action="store_true", help="take the entry out")
    how.add_argument("--pin", action="store_true", help="keep it from pruning, and from rewording by merges")
    how.add_argument("--unpin", action="store_true", help="let it loose again")
    edit.add_argument("--force", action="store_true", help="remove it though it is pinned")
    edit.add_argument(
        "--reason", default="", metavar="TEXT", help="why; kept in the journal, until the next checkpoint"
    )


def _add_log(actions: _Actions[argparse.ArgumentParser]) -> None:
    log = _action(actions, "log", "log the versions of a run that MLflow lacks, from what lies in its folder")
    log.add_argument("run", type=Path, metavar="DIR", help="the folder of a run of learn")
    log.add_argument("--experiment", metavar="NAME", help="MLflow experiment (default: that of the run)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="write it though it is there")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
