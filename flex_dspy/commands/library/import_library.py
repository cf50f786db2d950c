"""``flex-dspy library import``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands.arguments import Library, OutputFile, Overwrite, TrackingUri


def import_library(
    source: Library,
    *,
    out: OutputFile,
    task: Annotated[str, Parameter(help="The task it is for, where the file names none.")] = "",
    overwrite: Overwrite = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Make a library file of a file of the FLEX release, of a folder, or of a version in MLflow."""
    from flex_dspy.commands.actions import making

    making.check_free(out, overwrite=overwrite)
    making.import_library(source, out, task=task, tracking_uri=tracking_uri)
