"""``flex-dspy library export``."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from flex_dspy.commands.arguments import Library, OutputFile, Overwrite, PrintJson, Scopes, TrackingUri
from flex_dspy.commands.options.sharing import InstructionOptions


def export(
    library: Library,
    *,
    out: OutputFile,
    format: Annotated[
        Literal["release", "json"], Parameter(help="The FLEX release's format 2.0, or this project's.")
    ] = "release",
    instructions: InstructionOptions = InstructionOptions(),
    scope: Scopes = (),
    overwrite: Overwrite = False,
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write a library for other programs, or with --as as instructions for agents.

    Shared entries are written, and those of the scopes that are named.
    """
    if instructions.form is not None:
        from flex_dspy.commands.actions import instructing

        instructing.export(library, out, instructions, scope, as_json=json, tracking_uri=tracking_uri)
        return
    from flex_dspy.commands.actions import making

    making.check_free(out, overwrite=overwrite)
    making.export(library, out, format, scope, tracking_uri)
