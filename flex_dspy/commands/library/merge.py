"""``flex-dspy library merge``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands.arguments import Library, OutputFile, Overwrite, PrintJson, TrackingUri
from flex_dspy.core.errors import ConfigurationError, FindingsError


def merge(
    *libraries: Library,
    out: OutputFile,
    any_task: Annotated[bool, Parameter(help="Merge libraries of different tasks.")] = False,
    overwrite: Overwrite = False,
    fail_on_conflicts: Annotated[
        bool, Parameter(help="End with exit code 5 if the libraries contradict each other. The file is written.")
    ] = False,
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Make one library of several."""
    if not libraries:
        raise ConfigurationError("name the libraries to merge")
    from flex_dspy.commands.actions import making

    making.check_free(out, overwrite=overwrite)
    conflicts = making.merge_libraries(libraries, out, any_task=any_task, as_json=json, tracking_uri=tracking_uri)
    if fail_on_conflicts and conflicts:
        raise FindingsError(f"{conflicts} contradictions between the libraries, for you to decide")
