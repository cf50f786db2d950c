"""``flex-dspy library audit``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from flex_dspy.commands.actions.tables import print_json
from flex_dspy.core.errors import DataError, FindingsError
from flex_dspy.core.examples import problem_of
from flex_dspy.data.files import read_rows
from flex_dspy.sharing.audit import audit
from flex_dspy.sharing.problem_index import ProblemIndex
from flex_dspy.tasks.registry import get_task
from flex_dspy.tracking.registry import read_library

_MIN_LETTERS = 8  # shorter cells, such as answers and labels, are not problems


def run(
    name: str, tests: Sequence[str], task: str | None, limit: int | None, *, as_json: bool, tracking_uri: str | None
) -> None:
    """Print the suspicious places of a library.

    Raises:
        FindingsError: If the library has suspicious places.
    """
    library = read_library(name, tracking_uri)
    report = audit(library, read_tests(tests, task) if tests else None)
    if as_json:
        print_json(report.as_dict())
    else:
        shown = report.findings[:limit]
        print(*(finding.text() for finding in shown), report.text(), sep="\n")
    if report:
        raise FindingsError(f"{name}: {report.text()}")


def read_tests(sources: Sequence[str], task_name: str | None) -> ProblemIndex:
    """Read the problems of test sets.

    Args:
        sources: Data sources of the task. Without a task, they are files, and every longer cell counts as a problem.
        task_name: The task that reads the sources; None for no task.

    Raises:
        DataError: If a source cannot be read or holds no problem.
    """
    if task_name is None:
        return ProblemIndex(problem for source in sources for problem in _cells(Path(source)))
    task = get_task(task_name)
    examples = (example for source in sources for example in task.load(source).examples)
    return ProblemIndex(map(problem_of, examples), task.key)


def _cells(file: Path) -> Iterator[str]:
    found = False
    for row in read_rows(file):
        for cell in row.cells.values():
            if isinstance(cell, str) and len(cell) >= _MIN_LETTERS:
                found = True
                yield cell
    if not found:
        raise DataError(f"{file} has no cell of {_MIN_LETTERS} letters or more, so there is no problem to look for")
