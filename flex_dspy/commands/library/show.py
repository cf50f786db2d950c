"""``flex-dspy library show``."""

from __future__ import annotations

from flex_dspy.commands.arguments import Library, PrintJson, TrackingUri
from flex_dspy.commands.options.library import Selection


def show(
    library: Library, *, chosen: Selection = Selection(), json: PrintJson = False, tracking_uri: TrackingUri = None
) -> None:
    """Print the entries of a library."""
    from flex_dspy.commands.actions import looking

    looking.show(library, chosen, as_json=json, tracking_uri=tracking_uri)
