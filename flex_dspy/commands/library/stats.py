"""``flex-dspy library stats``."""

from __future__ import annotations

from flex_dspy.commands.arguments import Library, Positive, PrintJson, TrackingUri


def show_stats(
    library: Library, *, top: Positive = 5, json: PrintJson = False, tracking_uri: TrackingUri = None
) -> None:
    """Print sizes, categories, tokens, the most helpful and the most misleading entries.

    Args:
        library: The library.
        top: How many to name in a list.
        json: Print JSON.
        tracking_uri: MLflow store (default: MLflow's own).
    """
    from flex_dspy.commands.actions import looking

    looking.show_stats(library, top, as_json=json, tracking_uri=tracking_uri)
