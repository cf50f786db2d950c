"""``flex-dspy library diff``."""

from __future__ import annotations

from flex_dspy.commands.arguments import Library, Positive, PrintJson, TrackingUri


def diff(
    older: Library,
    newer: Library,
    *,
    limit: Positive | None = None,
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Print the changes from one library to another, by entry.

    Args:
        older: The library before.
        newer: The library after.
        limit: Most entries of each kind (default: all).
        json: Print JSON.
        tracking_uri: MLflow store (default: MLflow's own).
    """
    from flex_dspy.commands.actions import looking

    looking.show_diff((older, newer), limit, as_json=json, tracking_uri=tracking_uri)
