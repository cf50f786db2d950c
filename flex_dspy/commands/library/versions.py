"""``flex-dspy library versions``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands.arguments import PrintJson, TrackingUri


def list_versions(
    library: Annotated[str, Parameter(help="A library file or its folder, or a NAME in MLflow.")],
    *,
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """List the versions published of a library."""
    from flex_dspy.commands.actions import looking

    looking.list_versions(library, as_json=json, tracking_uri=tracking_uri)
