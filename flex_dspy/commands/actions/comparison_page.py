"""Finds MLflow's page that compares versions. It asks the running server, because importing MLflow takes seconds."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

_MACHINE_LEARNING = "workflowType=machine_learning"  # shows runs and models; MLflow's default is chats
EXPERIMENTS = f"#/experiments?{_MACHINE_LEARNING}"
_TIMEOUT = 30.0  # seconds
_MOST = 1_000  # most experiments to search, the last changed first


def find_page(address: str) -> str:
    """Path of the page with the versions of the newest learning run; without a run, the page of experiments.

    The page lists the versions, with a chart of their accuracies beside the list. MLflow's table also shows them, but
    only in a wide window.

    Args:
        address: Address of the server, such as ``http://127.0.0.1:5000``.
    """
    try:
        experiment = _newest_experiment(address)
    except (OSError, ValueError, KeyError):  # the pages work without it
        experiment = None
    return f"#/experiments/{experiment}/models?{_MACHINE_LEARNING}&viewMode=CHART" if experiment else EXPERIMENTS


def _newest_experiment(address: str) -> str | None:
    """Id of the experiment of the newest learning run; None if there is none."""
    order = ["last_update_time DESC"]
    found = _search(address, "experiments", max_results=_MOST, order_by=order).get("experiments", [])
    ids = [each["experiment_id"] for each in found]
    wanted = {"filter": "tags.`flex_dspy.task` != ''", "order_by": ["attributes.start_time DESC"]}
    runs = _search(address, "runs", experiment_ids=ids, max_results=1, **wanted).get("runs", []) if ids else []
    return str(runs[0]["info"]["experiment_id"]) if runs else None


def _search(address: str, things: str, **query: Any) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310  (our own server)
        f"{address}/api/2.0/mlflow/{things}/search", json.dumps(query).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found
