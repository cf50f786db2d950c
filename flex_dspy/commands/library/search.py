"""``flex-dspy library search``."""

from __future__ import annotations

from flex_dspy.commands.arguments import Library, Positive, PrintJson, Scopes, TrackingUri, Weight


def search(
    library: Library,
    query: str,
    *,
    k: Positive = 5,
    utility: Weight = 0,
    scope: Scopes = (),
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Print the entries that fit a problem best, and why.

    Args:
        library: The library.
        query: A problem: any text, or a SMILES.
        k: Most entries.
        utility: How much the measured effect of an entry counts beside its fit (0: not at all).
        scope: A scope to read besides the shared entries. May be repeated.
        json: Print JSON.
        tracking_uri: MLflow store (default: MLflow's own).
    """
    from flex_dspy.commands.actions import looking

    looking.search(library, query, k, utility, scope, as_json=json, tracking_uri=tracking_uri)
