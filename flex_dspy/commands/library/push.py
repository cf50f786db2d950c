"""``flex-dspy library push``."""

from __future__ import annotations

from flex_dspy.commands.arguments import Library, PrintJson, Scopes, TrackingUri
from flex_dspy.commands.options.sharing import PushOptions


def push(
    library: Library,
    address: str,
    *,
    options: PushOptions = PushOptions(),
    scope: Scopes = (),
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write a library with a card and a manifest to the Hugging Face hub, or to any address that fsspec knows.

    Args:
        library: The library. The files of its run, if they lie beside it, say how it was learned and measured.
        address: hf://owner/name, s3://bucket/folder, gs://bucket/folder, file:///folder and so on.
        options: The other options.
        scope: A scope to push besides the shared entries. May be repeated.
        json: Print JSON.
        tracking_uri: MLflow store (default: MLflow's own).
    """
    from flex_dspy.commands.actions import exchanging

    exchanging.push(library, address, options, scope, as_json=json, tracking_uri=tracking_uri)
