"""``flex-dspy library merge``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands.arguments import Library, OutputFile, Overwrite, PrintJson, TrackingUri
from flex_dspy.core.errors import ConfigurationError


def merge(
    *libraries: Library,
    out: OutputFile,
    any_task: Annotated[bool, Parameter(help="Merge libraries of different tasks.")] = False,
    overwrite: Overwrite = False,
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Make one library of several."""
    if not libraries:
        raise ConfigurationError("name the libraries to merge")
    from flex_dspy.commands.actions import making

    making.check_free(out, overwrite=overwrite)
    making.merge_libraries(libraries, out, any_task=any_task, as_json=json, tracking_uri=tracking_uri)
