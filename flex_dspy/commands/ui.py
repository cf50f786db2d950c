"""``flex-dspy ui``: MLflow's pages on local data."""

from __future__ import annotations

from flex_dspy.commands.arguments import Port, TrackingUri


def serve_pages(*, tracking_uri: TrackingUri = None, port: Port | None = None) -> None:
    """Show versions and evaluations in MLflow's pages, served on this machine. Ctrl-C ends it.

    Args:
        tracking_uri: MLflow store (default: MLflow's own).
        port: The port to listen on (default: the first free port from 5000).
    """
    from flex_dspy.commands.actions import ui as action

    action.run(tracking_uri, port)
