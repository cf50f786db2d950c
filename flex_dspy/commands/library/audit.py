"""``flex-dspy library audit``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands.arguments import Library, Positive, PrintJson, TaskName, TrackingUri

_TEST = "A test set that the library must not know: a file, or with --task any source. May be repeated."


def audit(
    library: Library,
    *,
    test: Annotated[tuple[str, ...], Parameter(help=_TEST)] = (),
    task: TaskName | None = None,
    limit: Positive | None = None,
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """List suspicious places of a library, with reasons. The exit code is 5 if there are any.

    It looks for instructions to the reader, links, code, secrets, hidden characters, and problems of test sets.

    Args:
        library: The library.
        test: Test sets.
        task: The task that reads the test sets, and knows when two problems are the same.
        limit: Most places to print (default: all).
        json: Print JSON.
        tracking_uri: MLflow store (default: MLflow's own).
    """
    from flex_dspy.commands.actions import auditing

    auditing.run(library, test, task, limit, as_json=json, tracking_uri=tracking_uri)
