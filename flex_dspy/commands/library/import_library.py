"""``flex-dspy library import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands import paths
from flex_dspy.commands.arguments import Overwrite, PrintJson, TrackingUri
from flex_dspy.commands.options.sharing import SectionName
from flex_dspy.core.errors import ConfigurationError

_SOURCE = "A library: a file, a folder, NAME@alias or NAME/version in MLflow; with --into a skill or an AGENTS.md."


def import_library(
    source: Annotated[str, Parameter(help=_SOURCE)],
    *,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"), help="The file to write.")] = None,
    into: Annotated[Path | None, Parameter(help="Take over edits of exported lessons into this library.")] = None,
    task: Annotated[str, Parameter(help="The task it is for, where the file names none.")] = "",
    name: SectionName = None,
    yes: Annotated[bool, Parameter(help="Take over edits without a question.")] = False,
    overwrite: Overwrite = False,
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Make a library file of another library, or take over edits of exported lessons."""
    if (out is None) == (into is None):
        raise ConfigurationError("say with --out which file to make, or with --into which library gets the edits")
    if into is not None:
        paths.check_own(into)
        from flex_dspy.commands.actions import instructing

        instructing.import_edits(Path(source), into, name, is_confirmed=yes, as_json=json)
        return
    from flex_dspy.commands.actions import making

    assert out is not None  # noqa: S101
    making.check_free(out, overwrite=overwrite)
    making.import_library(source, out, task=task, tracking_uri=tracking_uri)
