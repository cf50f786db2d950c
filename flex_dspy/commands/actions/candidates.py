"""Reads the candidates of ``flex-dspy compare``, libraries and saved evaluations, and gives them short names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.record_files import RECORDS
from flex_dspy.evaluation.saved_sides import read_side
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tasks.names import task_names
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.registry import read_library

NONE = "none"
Candidate = ExperienceLibrary | Side  # a saved evaluation is a side without a name


def read_candidate(source: str, tracking_uri: str | None) -> Candidate:
    """Read a source: a saved evaluation, a library, or no library.

    Args:
        source: ``none``, the name of a library, or the folder or file of saved records.
        tracking_uri: The tracking store; None for MLflow's own choice.

    Raises:
        ConfigurationError: If a folder holds several evaluations, or there is no such library in MLflow.
        DataError: If records cannot be read.
        LibraryError: If a file does not exist or cannot be used.
    """
    if source == NONE:
        return ExperienceLibrary()
    records = _records(Path(source))
    return read_side(records) if records else read_library(source, tracking_uri)


def _records(path: Path) -> Path | None:
    """Folder or file of records at a path, or None. In the folder of an ``eval``, it is the library's folder."""
    if path.suffix == ".jsonl" or (path / RECORDS).exists():
        return path
    inner = sorted(file.parent for file in path.glob(f"*/{RECORDS}")) if path.is_dir() else []
    own = [folder for folder in inner if folder.name == "with-library"] or inner
    if len(own) > 1:
        raise ConfigurationError(f"{path} holds several evaluations: name one of {', '.join(map(str, own))}")
    return own[0] if own else None


def choose_names(given: Sequence[str], chosen: Sequence[str]) -> Sequence[str]:
    """Names of the candidates: the names from the options, or else the shortest distinct names.

    Raises:
        ConfigurationError: If the number of names is wrong, or a name occurs twice.
    """
    names = chosen or names_of(given)
    if len(names) != len(given) or len(set(names)) < len(names):
        raise ConfigurationError(f"--name gives {', '.join(names)}: each of the {len(given)} needs its own")
    return names


def names_of(given: Sequence[str]) -> tuple[str, ...]:
    """Short names of sources: the ends of their paths, just long enough to be distinct.

    Example:
        >>> names_of(["runs/a/library.json", "runs/b/library.json", "none"])
        ('a', 'b', 'no library')
        >>> names_of(["a/x.json", "b/x.json", "chemist@best"])
        ('a/x', 'b/x', 'chemist@best')
    """
    parts = [_parts(source) for source in given]
    for depth in range(1, max(map(len, parts)) + 1):
        names = tuple("/".join(each[-depth:]) for each in parts)
        if len(set(names)) == len(names):
            return names
    raise ConfigurationError("one is named twice: to compare it with itself, call them differently with --name")


def _parts(source: str) -> list[str]:
    if source == NONE:
        return ["no library"]
    path = Path(source)
    is_file = path.suffix in (".json", ".jsonl")
    whole = [*path.parts[:-1], path.stem] if is_file else list(path.parts)
    return whole[:-1] if len(whole) > 1 and is_file and path.stem in ("library", "records") else whole


def find_task(name: str | None, given: Sequence[Candidate]) -> Task | None:
    """Find the task with this name, or else the task of the first library or saved evaluation that has one.

    The task of a saved evaluation may be unknown here. The evaluation can still be compared.
    """
    libraries = [each.task for each in given if isinstance(each, ExperienceLibrary) and each.task]
    saved = [each.task for each in given if isinstance(each, Side) and each.task in task_names()]
    found = name or next(iter([*libraries, *saved]), None)
    return get_task(found) if found else None
