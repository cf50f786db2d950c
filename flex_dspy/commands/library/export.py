"""``flex-dspy library export``."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from flex_dspy.commands.arguments import Library, OutputFile, Overwrite, TrackingUri


def export(
    library: Library,
    *,
    out: OutputFile,
    format: Annotated[
        Literal["release", "json"], Parameter(help="The FLEX release's format 2.0, or this project's.")
    ] = "release",
    overwrite: Overwrite = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write a library for other programs."""
    from flex_dspy.commands.actions import making

    making.check_free(out, overwrite=overwrite)
    making.export(library, out, format, tracking_uri)
